//! A client that decides when it writes, reads and goes away.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use reqwest::{
    StatusCode,
    header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

use super::{MAX_WAIT, Reply};

/// One connection, kept open.
pub struct Raw {
    stream: BufReader<TcpStream>,
}

/// How a client goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It closes its connection. The service cannot know that it will not read its answer.
    Close,
    /// It resets its connection, which tells the service that it is gone.
    Reset,
}

impl Raw {
    /// Connects to the service at `url`.
    pub fn connect(url: &str) -> Self {
        Self::over(TcpStream::connect(address(url)).unwrap())
    }

    /// As [`Raw::connect`]; `None` if the service refuses the connection.
    pub fn try_connect(url: &str) -> Option<Self> {
        let connected = TcpStream::connect_timeout(&address(url), MAX_WAIT);
        match connected {
            Ok(stream) => Some(Self::over(stream)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Connects a client that leaves as `leave` says when it is dropped.
    pub fn leaving(url: &str, leave: Leave) -> Self {
        let mut client = Self::connect(url);
        if leave == Leave::Reset {
            // A socket that is closed before everything was read from it is reset.
            client.get("/");
            client.stream.get_ref().peek(&mut [0]).unwrap();
        }
        client
    }

    /// Writes a GET; `path` starts with `/`.
    pub fn get(&mut self, path: &str) {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    /// Writes a GET of `/mega-stats`; `tenant` needs no escapes.
    pub fn mega_stats(&mut self, tenant: &str) {
        self.get(&format!(
            "/api/v1/appointments/mega-stats?tenantId={tenant}"
        ));
    }

    /// Writes a `POST /` with a JSON body.
    pub fn post(&mut self, body: &Value) {
        let body = body.to_string();
        self.write(format!(
            "POST /api/v1/appointments HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// Writes any bytes.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Writes as many of `bytes` as fit without waiting; an error means that the connection is gone.
    pub fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).unwrap();
        let written = stream.write(bytes);
        stream.set_nonblocking(false).unwrap();
        match written {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Closes the connection for writing.
    pub fn end(&mut self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Whether a part of an answer has arrived.
    pub fn is_answered(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        match peeked {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads one answer.
    pub fn reply(&mut self) -> Reply {
        let status = self.line();
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status: {status:?}"));
        let status: StatusCode = status.parse().unwrap();
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let length = headers[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Reply {
            status,
            headers,
            body: String::from_utf8(body).unwrap(),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a last request, and waits until the service has answered it and closed the connection.
    pub fn close(mut self) {
        self.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.reply();
        self.closed();
    }

    /// Waits until the service closes the connection without a further answer.
    pub fn closed(&mut self) {
        match self.stream.read(&mut [0]) {
            Ok(read) => assert_eq!(read, 0, "an answer to no request"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// Whether nobody listens at `url` any more.
pub fn is_refused(url: &str) -> bool {
    let connected = TcpStream::connect_timeout(&address(url), Duration::from_secs(1));
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}
