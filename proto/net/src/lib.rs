//! The thin I/O glue that the daemons share. Never holds protocol rules: those live in `shoal-proto`.
