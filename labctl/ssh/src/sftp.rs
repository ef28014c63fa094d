//! SFTP on one channel of a session: single files, with the server's reasons as ours.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt as _};
use russh_sftp::client::error::Error;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::{File, FileAttributes, OpenFlags, Packet, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::destination::Peer;
use crate::link::Lost;
use crate::pump::Stream;
use crate::{Session, SshError};

/// OpenSSH's own sftp writes and reads this much at once, and keeps so many requests under way.
const CHUNK: usize = 32 << 10;
const UNDER_WAY: usize = 64;

/// Longest wait for one answer. A node that is gone is noticed earlier, by its connection.
const ANSWER_SECONDS: u64 = 120;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// Told how many bytes are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// An SFTP channel.
pub(crate) struct Sftp {
    raw: RawSftpSession,
    peer: Peer,
    lost: Lost,
    renames_over: bool,
    syncs: bool,
}

impl Sftp {
    pub(crate) async fn open(session: &Session) -> Result<Self, SshError> {
        let (mut channel, lost) = session.session_channel("copy files").await?;
        let asked = channel.request_subsystem(true, "sftp").await.is_ok();
        let granted = session.granted(&mut channel, &lost, "copy files", asked);
        let peer = session.peer().clone();
        let missing = |reason: &str| SshError::NoSftp {
            peer: peer.clone(),
            reason: reason.to_owned(),
        };
        granted.await.map_err(|error| match error {
            SshError::RequestRefused { .. } => missing("it knows no such subsystem"),
            error => error,
        })?;
        let config = Config {
            request_timeout_secs: ANSWER_SECONDS,
            ..Config::default()
        };
        let stream = Stream::new(channel, lost.clone());
        let ended = stream.closed();
        let raw = RawSftpSession::new_with_config(stream, config);
        let version = tokio::select! {
            version = raw.init() => version.map_err(|error| missing(&error.to_string()))?,
            () = ended => return Err(missing("its SFTP server ended at once")),
        };
        Ok(Self {
            renames_over: version.extensions.contains_key(POSIX_RENAME),
            syncs: version.extensions.contains_key(FSYNC),
            raw,
            peer,
            lost,
        })
    }

    /// What the server answers, unless the connection ends first: then it never will.
    async fn answer<T>(
        &self,
        action: &'static str,
        path: &str,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, SshError> {
        tokio::select! {
            answer = asked => answer.map_err(|error| self.refused(action, path, &error)),
            reason = self.lost.reason() => Err(self.cut_off(action, path, reason)),
        }
    }

    fn cut_off(&self, action: &str, path: &str, reason: String) -> SshError {
        SshError::Disconnected {
            peer: self.peer.clone(),
            during: format!("{action} {path}"),
            reason,
        }
    }

    fn refused(&self, action: &'static str, path: &str, error: &Error) -> SshError {
        let reason = match error {
            Error::Status(status) => match status.status_code {
                StatusCode::NoSuchFile => "no such file or folder".to_owned(),
                StatusCode::PermissionDenied => "permission denied".to_owned(),
                // SFTP 3 has one code for all else; the server's log says more.
                StatusCode::Failure => "the server could not do it".to_owned(),
                code => format!("{code}: {}", status.error_message),
            },
            Error::Timeout => format!("no answer for {ANSWER_SECONDS} s"),
            Error::Limited(limit) => limit.clone(),
            // All else is the end of the channel, with which the connection may have ended.
            _ if self.lost.is_over() => {
                return self.cut_off(action, path, self.lost.known_reason());
            }
            error => return self.cut_off(action, path, format!("its SFTP server ended ({error})")),
        };
        SshError::RemoteFile {
            peer: self.peer.clone(),
            action,
            path: path.to_owned(),
            reason,
        }
    }

    /// The attributes of a file, links followed; `None` when there is none.
    pub(crate) async fn stat(&self, path: &str) -> Result<Option<FileAttributes>, SshError> {
        let asked = async {
            match self.raw.stat(path).await {
                Ok(attributes) => Ok(Some(attributes.attrs)),
                Err(Error::Status(status)) if status.status_code == StatusCode::NoSuchFile => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        self.answer("look at", path, asked).await
    }

    /// Makes a folder, unless it is there.
    pub(crate) async fn make_folder(&self, path: &str, mode: u32) -> Result<(), SshError> {
        if self.stat(path).await?.is_some_and(|found| found.is_dir()) {
            return Ok(());
        }
        let made = self.raw.mkdir(path, permissions(mode));
        self.answer("make the folder", path, made).await.map(drop)
    }

    /// What is in a folder, without `.` and `..`.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<File>, SshError> {
        let action = "list";
        let folder = self.answer(action, path, self.raw.opendir(path)).await?;
        let mut found = Vec::new();
        loop {
            let part = async {
                match self.raw.readdir(folder.handle.as_str()).await {
                    Ok(part) => Ok(part.files),
                    Err(Error::Status(status)) if status.status_code == StatusCode::Eof => {
                        Ok(Vec::new())
                    }
                    Err(error) => Err(error),
                }
            };
            let part = self.answer(action, path, part).await?;
            if part.is_empty() {
                break;
            }
            found.extend(part);
        }
        let closed = self.raw.close(folder.handle);
        self.answer(action, path, closed).await?;
        found.retain(|file| file.filename != "." && file.filename != "..");
        Ok(found)
    }

    /// Puts `total` bytes of `source` where `path` is, whole or not at all.
    pub(crate) async fn put(
        &self,
        source: impl AsyncRead + Unpin,
        total: u64,
        path: &str,
        mode: u32,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let new = beside(path);
        let written = async {
            let written = self.write(source, total, &new, mode, progress).await;
            match written {
                Ok(()) => self.replace(&new, path).await,
                Err(error) => Err(error),
            }
        };
        let Err(error) = written.await else {
            return Ok(());
        };
        // How much room there is shows only while the partial file still takes it.
        let error = self.why_not_written(error, path, total).await;
        // What it could not write it can remove, unless the connection is gone.
        let _ = self.answer("remove", &new, self.raw.remove(&new)).await;
        Err(error)
    }

    async fn write(
        &self,
        mut source: impl AsyncRead + Unpin,
        total: u64,
        path: &str,
        mode: u32,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
        let opened = self.raw.open(path, flags, permissions(0o600));
        let handle = self.answer("write", path, opened).await?.handle;
        let mut under_way = FuturesUnordered::new();
        let (mut sent, mut done) = (0, 0);
        let mut ended = false;
        while !ended || !under_way.is_empty() {
            if !ended && under_way.len() < UNDER_WAY {
                let chunk = chunk(&mut source)
                    .await
                    .map_err(|error| self.local(error))?;
                ended = chunk.is_empty();
                if !ended {
                    let (offset, length) = (sent, chunk.len() as u64);
                    sent += length;
                    let written = self.raw.write(handle.as_str(), offset, chunk);
                    under_way.push(async move { written.await.map(|_| length) });
                }
                continue;
            }
            let Some(written) = self
                .answer("write", path, async { Ok(under_way.next().await) })
                .await?
            else {
                break;
            };
            done += written.map_err(|error| self.refused("write", path, &error))?;
            if let Some(progress) = progress {
                progress(done, total);
            }
        }
        drop(under_way);
        let changed = self.raw.fsetstat(handle.as_str(), permissions(mode));
        self.answer("set the mode of", path, changed).await?;
        if self.syncs {
            let synced = self.raw.fsync(handle.as_str());
            self.answer("write", path, synced).await?;
        }
        let closed = self.raw.close(handle);
        self.answer("write", path, closed).await.map(drop)
    }

    /// Renames over what is there, which plain SFTP 3 does not.
    async fn replace(&self, new: &str, path: &str) -> Result<(), SshError> {
        if self.renames_over {
            let renamed = async {
                let names = [new, path].map(string).concat();
                match self.raw.extended(POSIX_RENAME, names).await? {
                    Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
                    Packet::Status(status) => Err(Error::Status(status)),
                    _ => Err(Error::UnexpectedPacket),
                }
            };
            return self.answer("replace", path, renamed).await;
        }
        if self.stat(path).await?.is_some() {
            self.answer("replace", path, self.raw.remove(path)).await?;
        }
        let renamed = self.raw.rename(new, path);
        self.answer("replace", path, renamed).await.map(drop)
    }

    /// SFTP 3 has no word for a full disk; the file system's numbers tell.
    async fn why_not_written(&self, error: SshError, path: &str, total: u64) -> SshError {
        if !matches!(error, SshError::RemoteFile { .. }) {
            return error;
        }
        let folder = folder_of(path);
        let asked = self.answer("look at", folder, self.raw.statvfs(folder));
        let Ok(system) = asked.await else {
            return error;
        };
        let available = system.blocks_avail.saturating_mul(system.fragment_size);
        let no_inode = system.inodes > 0 && system.inodes_free == 0;
        // A last block may be left that the next write did not fit in.
        if available >= CHUNK as u64 && !no_inode {
            return error;
        }
        SshError::DiskFull {
            peer: self.peer.clone(),
            path: path.to_owned(),
            needed: Some(total),
            available: Some(available),
        }
    }

    /// Writes all bytes of `path` to `target`; gives their number.
    pub(crate) async fn get(
        &self,
        path: &str,
        mut target: impl AsyncWrite + Unpin,
        progress: Option<Progress<'_>>,
    ) -> Result<u64, SshError> {
        let opened = self
            .raw
            .open(path, OpenFlags::READ, FileAttributes::empty());
        let handle = self.answer("read", path, opened).await?.handle;
        let attributes = self.raw.fstat(handle.as_str());
        let total = self.answer("read", path, attributes).await?.attrs.len();
        let mut under_way = FuturesOrdered::new();
        let (mut asked, mut done) = (0, 0);
        loop {
            while under_way.len() < UNDER_WAY {
                under_way.push_back(self.raw.read(handle.as_str(), asked, CHUNK as u32));
                asked += CHUNK as u64;
            }
            let read = async { Ok(under_way.next().await) };
            let bytes = match self.answer("read", path, read).await? {
                Some(Ok(data)) => data.data,
                Some(Err(Error::Status(status))) if status.status_code == StatusCode::Eof => break,
                Some(Err(error)) => return Err(self.refused("read", path, &error)),
                None => break,
            };
            let written = target.write_all(&bytes).await;
            written.map_err(|error| self.local(error))?;
            done += bytes.len() as u64;
            if bytes.len() < CHUNK {
                // A short answer is not the end; what was asked for beyond it has a gap.
                under_way = FuturesOrdered::new();
                asked = done;
            }
            if let Some(progress) = progress {
                progress(done, total.max(done));
            }
        }
        drop(under_way);
        target.flush().await.map_err(|error| self.local(error))?;
        self.answer("read", path, self.raw.close(handle)).await?;
        Ok(done)
    }

    fn local(&self, source: std::io::Error) -> SshError {
        SshError::Local {
            action: "copy a file",
            source,
        }
    }
}

async fn chunk(source: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut part = source.take(CHUNK as u64);
    while part.read_buf(&mut chunk).await? > 0 {}
    Ok(chunk)
}

/// A string as SSH encodes it.
fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn permissions(mode: u32) -> FileAttributes {
    FileAttributes {
        permissions: Some(mode & 0o7777),
        ..FileAttributes::empty()
    }
}

/// A new name in the folder of `path`, which a rename can replace it from.
fn beside(path: &str) -> String {
    // The standard library's hasher is seeded at random.
    let unique = RandomState::new().build_hasher().finish();
    let (folder, name) = path
        .rsplit_once('/')
        .map_or(("", path), |(folder, name)| (folder, name));
    let separator = if path.contains('/') { "/" } else { "" };
    format!("{folder}{separator}.{name}.labctl-{unique:016x}")
}

fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        None => ".",
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_lies_beside_the_one_it_replaces() {
        for (path, start) in [
            ("/etc/hosts", "/etc/.hosts.labctl-"),
            ("/hosts", "/.hosts.labctl-"),
            ("hosts", ".hosts.labctl-"),
        ] {
            let new = beside(path);
            assert!(new.starts_with(start), "{new}");
            assert_ne!(new, beside(path));
        }
        assert_eq!(folder_of("/etc/hosts"), "/etc");
        assert_eq!(folder_of("/hosts"), "/");
        assert_eq!(folder_of("hosts"), ".");
    }
}
