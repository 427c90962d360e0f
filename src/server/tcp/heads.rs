//! Where the head of a request ends, line by line as its bytes arrive.
//!
//! The connection hands over one head at a time, and no offer to speak another protocol: RFC 9110,
//! section 7.8, lets a server ignore `Upgrade`, but actix would close the connection after it
//! answers such a request, and would take whatever follows a WebSocket handshake for its body.

use memchr::memchr;

/// A longer line is handed over before its end has arrived.
const LONGEST_KEPT: usize = 512;

/// Takes the place of `upgrade` as the name of a header and as an option of `Connection`. No client
/// is known to send it, and it means nothing here.
const IGNORED: &[u8; 7] = b"ignored";

/// Reads the bytes of a connection line by line.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Where the next byte stands.
    at: Position,
    /// Whether the last byte was of a head.
    was_head: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    /// Before the first byte of a head.
    #[default]
    Start,
    /// At the start of a further line.
    Line,
    /// Within a line.
    Within,
}

impl Heads {
    /// How many of `bytes` to hand over: up to the first line that is empty, so that at most one
    /// head ends in them. Of a head (`is_head`) the offers to speak another protocol are made
    /// unreadable, and a line that may be one is kept until its end is there.
    pub(super) fn next_piece(&mut self, bytes: &mut [u8], is_head: bool) -> usize {
        if is_head && !self.was_head {
            self.at = Position::Start;
        }
        self.was_head = is_head;
        let mut done = 0;
        while done < bytes.len() {
            let rest = &mut bytes[done..];
            let Some(end) = memchr(b'\n', rest) else {
                if is_head
                    && self.at == Position::Line
                    && rest.len() < LONGEST_KEPT
                    && matches!(rest[0], b'c' | b'C' | b'u' | b'U')
                {
                    return done;
                }
                self.at = Position::Within;
                return bytes.len();
            };
            let line = &mut rest[..end];
            done += end + 1;
            let at = std::mem::replace(&mut self.at, Position::Line);
            if at != Position::Within && matches!(*line, [] | [b'\r']) {
                self.at = Position::Start;
                return done;
            }
            if is_head && at == Position::Line {
                ignore_upgrade(line);
            }
        }
        done
    }
}

/// Makes a line of a head unreadable, where it offers another protocol.
fn ignore_upgrade(line: &mut [u8]) {
    let Some(colon) = memchr(b':', line) else {
        return;
    };
    let (name, value) = line.split_at_mut(colon);
    if name.eq_ignore_ascii_case(b"upgrade") {
        name.copy_from_slice(IGNORED);
    } else if name.eq_ignore_ascii_case(b"connection") {
        for option in value[1..].split_mut(|byte| *byte == b',') {
            let option = trimmed(option);
            if option.eq_ignore_ascii_case(b"upgrade") {
                option.copy_from_slice(IGNORED);
            }
        }
    }
}

/// Without the white space around it.
fn trimmed(bytes: &mut [u8]) -> &mut [u8] {
    let from = bytes.len() - bytes.trim_ascii_start().len();
    let length = bytes.trim_ascii().len();
    &mut bytes[from..from + length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is handed over of `bytes` that arrive in `parts`, piece by piece.
    fn handed_over(parts: &[&str]) -> Vec<String> {
        let (mut heads, mut kept, mut pieces) = (Heads::default(), Vec::new(), Vec::new());
        for part in parts {
            kept.extend_from_slice(part.as_bytes());
            loop {
                let piece = heads.next_piece(&mut kept, true);
                if piece == 0 {
                    break;
                }
                let piece: Vec<u8> = kept.drain(..piece).collect();
                pieces.push(String::from_utf8(piece).unwrap());
            }
        }
        pieces
    }

    #[test]
    fn one_head_is_handed_over_at_a_time() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(handed_over(&[&head.repeat(3)]), [head; 3]);
        let bare = "GET / HTTP/1.1\nHost: a\n\n";
        assert_eq!(handed_over(&[&bare.repeat(2)]), [bare; 2]);
        let before = handed_over(&["\r\n\r\nGET / HTTP/1.1\r\n", "\r\n"]);
        assert_eq!(before, ["\r\n", "\r\n", "GET / HTTP/1.1\r\n", "\r\n"]);
    }

    #[test]
    fn offers_to_speak_another_protocol_cannot_be_read() {
        for (sent, read) in [
            ("Upgrade: h2c", "ignored: h2c"),
            ("UPGRADE:websocket", "ignored:websocket"),
            (
                "Connection: Upgrade, HTTP2-Settings",
                "Connection: ignored, HTTP2-Settings",
            ),
            (
                "connection:keep-alive ,\tuPGRADE ",
                "connection:keep-alive ,\tignored ",
            ),
            ("Connection: close, upgrade", "Connection: close, ignored"),
            ("Connection: upgrades", "Connection: upgrades"),
            ("Connection:", "Connection:"),
            (
                "Upgrade-Insecure-Requests: 1",
                "Upgrade-Insecure-Requests: 1",
            ),
            ("X-Upgrade: upgrade", "X-Upgrade: upgrade"),
            ("upgrade", "upgrade"),
        ] {
            let sent = format!("GET /upgrade HTTP/1.1\r\n{sent}\r\nHost: a\r\n\r\n");
            let read = format!("GET /upgrade HTTP/1.1\r\n{read}\r\nHost: a\r\n\r\n");
            assert_eq!(handed_over(&[&sent]), [read.as_str()]);
            for at in 0..sent.len() {
                let (first, rest) = sent.split_at(at);
                assert_eq!(handed_over(&[first, rest]).concat(), read, "cut at {at}");
            }
        }
    }

    #[test]
    fn the_request_line_and_bodies_stay_as_they_are() {
        let line = "upgrade: / HTTP/1.1\r\n";
        assert_eq!(handed_over(&[line]), [line]);
        let mut body = b"x\r\nUpgrade: h2c\r\nConnection: upgrade".to_vec();
        let sent = body.clone();
        assert_eq!(Heads::default().next_piece(&mut body, false), sent.len());
        assert_eq!(body, sent);
    }

    #[test]
    fn the_head_behind_a_body_is_read_from_its_start() {
        let mut heads = Heads::default();
        assert_eq!(heads.next_piece(&mut b"{}".to_vec(), false), 2);
        let mut head = b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n".to_vec();
        assert_eq!(heads.next_piece(&mut head, true), head.len());
        assert_eq!(head, b"GET / HTTP/1.1\r\nignored: h2c\r\n\r\n");
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let long = format!("GET / HTTP/1.1\r\nConnection: {}", "x".repeat(600));
        assert_eq!(handed_over(&[&long]).concat(), long);
        let short = handed_over(&["GET / HTTP/1.1\r\nConnection: x"]);
        assert_eq!(short, ["GET / HTTP/1.1\r\n"]);
    }
}
