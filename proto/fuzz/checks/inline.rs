//! What must hold for the splitting of inline commands.

use shoal_proto::resp::{Args, Limits, Request, Scanner, inline::split};

/// Quoting any word gives the word back, and the scanner sees the words that the splitter sees.
pub(crate) fn check(data: &[u8]) {
    let quoted: Vec<u8> = data.split(|byte| *byte == b' ').flat_map(quote).collect();
    let words: Vec<Vec<u8>> = data.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
    assert_eq!(split(&quoted).as_ref(), Some(&words), "a quoted word comes back");

    let line = data.split(|byte| *byte == b'\n').next().unwrap_or(data);
    let words = split(line.strip_suffix(b"\r").unwrap_or(line));
    if line.first() == Some(&b'*') || line.len() > Limits::default().max_inline {
        return;
    }
    let request = [line, b"\n"].concat();
    let mut scanner = Scanner::new();
    match (scanner.next(&request, &Limits::default()), words) {
        (Err(_), None) => {}
        (Ok(Some(Request::Empty { consumed })), Some(words)) => {
            assert_eq!((consumed, words.len()), (request.len(), 0));
        }
        (Ok(Some(Request::Inline { consumed })), Some(words)) => {
            assert_eq!(consumed, request.len());
            let args: Vec<_> =
                Args::new(scanner.inline(), scanner.spans()).iter().map(<[u8]>::to_vec).collect();
            assert_eq!(args, words);
        }
        (scanned, words) => panic!("scanned {scanned:?}, split {words:?}"),
    }
}

/// A word in quotes, with a space behind it.
fn quote(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in word {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            b' '..=b'~' => quoted.push(*byte),
            _ => quoted.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    quoted.extend(b"\" ");
    quoted
}
