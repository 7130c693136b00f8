//! Geospatial indexes.

use super::row::{behind, key, row};
use crate::command::{Command, Group};

pub(super) static COMMANDS: &[Command] = &[
    geo("geoadd", -5, "3.2.0", "write denyoom")
        .keys(&[key(1, "rw update")])
        .syntax("key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]")
        .about("Adds places or moves them.", "O(log(N)) per place, N members")
        .planned(),
    geo("geodist", -4, "3.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key member1 member2 [m | km | ft | mi]")
        .about("Measures the distance of two members.", "O(1)")
        .planned(),
    geo("geohash", -2, "3.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [member [member ...]]")
        .about("Returns the geohashes of members.", "O(1) per member")
        .planned(),
    geo("geopos", -2, "3.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax("key [member [member ...]]")
        .about("Returns the coordinates of members.", "O(1) per member")
        .planned(),
    geo("georadius", -6, "3.2.0", "write denyoom")
        .keys(&[
            key(1, "ro access"),
            behind("STORE", 6, 0, 0, "ow update"),
            behind("STOREDIST", 6, 0, 0, "ow update"),
        ])
        .syntax(
            "key longitude latitude radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] \
            [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        )
        .about(
            "Finds members around a point, and stores them if wanted.",
            "O(N+log(M)), N in the box around the circle, M members",
        )
        .deprecated("6.2.0", "GEOSEARCH and GEOSEARCHSTORE with BYRADIUS")
        .planned(),
    geo("georadius_ro", -6, "3.2.10", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax(
            "key longitude latitude radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] \
            [COUNT count [ANY]] [ASC | DESC]",
        )
        .about("Finds members around a point.", "O(N+log(M)), N in the box around the circle, M members")
        .deprecated("6.2.0", "GEOSEARCH with BYRADIUS")
        .planned(),
    geo("georadiusbymember", -5, "3.2.0", "write denyoom")
        .keys(&[
            key(1, "ro access"),
            behind("STORE", 5, 0, 0, "ow update"),
            behind("STOREDIST", 5, 0, 0, "ow update"),
        ])
        .syntax(
            "key member radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count \
            [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        )
        .about(
            "Finds members around another one, and stores them if wanted.",
            "O(N+log(M)), N in the box around the circle, M members",
        )
        .deprecated("6.2.0", "GEOSEARCH and GEOSEARCHSTORE with BYRADIUS and FROMMEMBER")
        .planned(),
    geo("georadiusbymember_ro", -5, "3.2.10", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax(
            "key member radius <m | km | ft | mi> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count \
            [ANY]] [ASC | DESC]",
        )
        .about("Finds members around another one.", "O(N+log(M)), N in the box around the circle, M members")
        .deprecated("6.2.0", "GEOSEARCH with BYRADIUS and FROMMEMBER")
        .planned(),
    geo("geosearch", -7, "6.2.0", "readonly")
        .keys(&[key(1, "ro access")])
        .syntax(
            "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <m | km | \
            ft | mi> | BYBOX width height <m | km | ft | mi>> [ASC | DESC] [COUNT count [ANY]] \
            [WITHCOORD] [WITHDIST] [WITHHASH]",
        )
        .about("Finds members inside a circle or a box.", "O(N+log(M)), N around the shape, M members")
        .planned(),
    geo("geosearchstore", -8, "6.2.0", "write denyoom")
        .keys(&[key(1, "ow update"), key(2, "ro access")])
        .syntax(
            "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS \
            radius <m | km | ft | mi> | BYBOX width height <m | km | ft | mi>> [ASC | DESC] \
            [COUNT count [ANY]] [STOREDIST]",
        )
        .about("Stores the members inside a circle or a box.", "O(N+log(M)), N around the shape, M members")
        .planned(),
];

/// A row of this family.
const fn geo(name: &'static str, arity: i8, since: &'static str, flags: &str) -> Command {
    row(Group::Geo, name, arity, since, flags)
}
