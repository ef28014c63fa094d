//! Files to and from a node: one or whole folders, as the login or as root.
//!
//! SFTP has the rights of the login. Where files are to be root's and the login isn't, they go
//! through a folder of the login (0700) from or to which sudo copies.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;

use crate::exec::Command;
use crate::sftp::{Progress, Sftp};
use crate::{Session, SshError};

/// What is uploaded.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The bytes of a file here.
    File(&'a Path),
}

impl Session {
    /// Puts a file on the node, with `mode`, in place of what is there: whole or not at all.
    ///
    /// # Errors
    /// [`SshError::NoSftp`], [`SshError::DiskFull`], [`SshError::RemoteFile`],
    /// [`SshError::LocalFile`], [`SshError::NoSudo`] or [`SshError::Disconnected`].
    pub async fn upload(
        &self,
        source: Source<'_>,
        remote: &str,
        mode: u32,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        if !self.destination().needs_sudo() {
            let sftp = Sftp::open(self).await?;
            return put(&sftp, source, remote, mode, progress).await;
        }
        let stage = Stage::make(self).await?;
        let staged = stage.path("file");
        let put = async {
            let sftp = Sftp::open(self).await?;
            put(&sftp, source, &staged, 0o600, progress).await?;
            // Copied beside the target and renamed, so that it is whole or not there.
            let mode = format!("{mode:04o}");
            let new = format!("{remote}.labctl-new");
            self.sudo(&["install", "-m", &mode, "-T", "--", &staged, &new], remote)
                .await?;
            self.sudo(&["mv", "-fT", "--", &new, remote], remote).await
        };
        stage.closed_after(put.await).await
    }

    /// Gets a file off the node; the one here is replaced, whole or not at all.
    ///
    /// # Errors
    /// As [`Session::upload`].
    pub async fn download(
        &self,
        remote: &str,
        local: &Path,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        if !self.destination().needs_sudo() {
            let sftp = Sftp::open(self).await?;
            return get(&sftp, remote, local, progress).await;
        }
        let stage = Stage::make(self).await?;
        let staged = stage.path("file");
        let got = async {
            self.sudo_to_login(&["cp", "-T", "--", remote, &staged], &staged, remote)
                .await?;
            let sftp = Sftp::open(self).await?;
            get(&sftp, &staged, local, progress).await
        };
        stage.closed_after(got.await).await
    }

    /// Copies a file or folder to the node, as `cp -r` does: into `remote` when that is a
    /// folder, with the modes it has here, links followed. `progress` is told per file.
    ///
    /// # Errors
    /// As [`Session::upload`].
    pub async fn copy_to(
        &self,
        local: &Path,
        remote: &str,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let sftp = Sftp::open(self).await?;
        if !self.destination().needs_sudo() {
            let target = into_folder(&sftp, remote, local).await?;
            return put_tree(&sftp, local, &target, progress).await;
        }
        let stage = Stage::make(self).await?;
        let name = local.file_name().map(|name| name.to_string_lossy());
        let staged = stage.path(name.as_deref().unwrap_or("copy"));
        let put = async {
            put_tree(&sftp, local, &staged, progress).await?;
            let preserve = "--preserve=mode,timestamps";
            self.sudo(&["cp", "-r", preserve, "--", &staged, remote], remote)
                .await
        };
        stage.closed_after(put.await).await
    }

    /// Copies a file or folder off the node, as `cp -r` does: into `local` when that is a
    /// folder, links followed. `progress` is told per file.
    ///
    /// # Errors
    /// As [`Session::upload`].
    pub async fn copy_from(
        &self,
        remote: &str,
        local: &Path,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let name = remote.trim_end_matches('/').rsplit('/').next();
        let local = match name {
            Some(name) if local.is_dir() && !name.is_empty() => local.join(name),
            _ => local.to_owned(),
        };
        let sftp = Sftp::open(self).await?;
        if !self.destination().needs_sudo() {
            return get_tree(&sftp, remote, &local, progress).await;
        }
        let stage = Stage::make(self).await?;
        let staged = stage.path("copy");
        let got = async {
            self.sudo_to_login(&["cp", "-rLT", "--", remote, &staged], &staged, remote)
                .await?;
            get_tree(&sftp, &staged, &local, progress).await
        };
        stage.closed_after(got.await).await
    }

    /// Runs a copying command as root; one that fails for want of space says so.
    async fn sudo(&self, argv: &[&str], path: &str) -> Result<(), SshError> {
        let argv = [&["env", "LC_ALL=C"], argv].concat();
        let output = self.output(&argv).await?;
        match output.success() {
            Ok(_) => Ok(()),
            Err(SshError::Remote { peer, stderr, .. }) if stderr.contains("No space left") => {
                Err(SshError::DiskFull {
                    peer,
                    path: path.to_owned(),
                    needed: None,
                    available: None,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn sudo_to_login(&self, argv: &[&str], staged: &str, path: &str) -> Result<(), SshError> {
        self.sudo(argv, path).await?;
        let user = &self.destination().user;
        self.sudo(&["chown", "-R", "--", user, staged], path).await
    }
}

/// A folder on the node that only the login may enter.
struct Stage<'a> {
    session: &'a Session,
    folder: String,
}

impl<'a> Stage<'a> {
    async fn make(session: &'a Session) -> Result<Self, SshError> {
        let made = Command::new(["mktemp", "-d"]).as_login_user();
        let output = session.start(made).await?.output().await?.success()?;
        let folder = String::from_utf8_lossy(&output).trim().to_owned();
        Ok(Self { session, folder })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Removes the folder, whatever happened, and gives what did.
    async fn closed_after<T>(self, result: Result<T, SshError>) -> Result<T, SshError> {
        let remove = Command::new(["rm", "-rf", "--", &self.folder]).as_login_user();
        let removed = async {
            let output = self.session.start(remove).await?.output().await?;
            output.success().map(drop)
        };
        let removed = removed.await;
        let value = result?;
        removed.map(|()| value)
    }
}

async fn put(
    sftp: &Sftp,
    source: Source<'_>,
    remote: &str,
    mode: u32,
    progress: Option<Progress<'_>>,
) -> Result<(), SshError> {
    match source {
        Source::Bytes(bytes) => {
            let total = bytes.len() as u64;
            sftp.put(bytes, total, remote, mode, progress).await
        }
        Source::File(path) => {
            let opened = tokio::fs::File::open(path).await;
            let file = opened.map_err(|error| unreadable(path, error))?;
            let metadata = file.metadata().await;
            let total = metadata.map_err(|error| unreadable(path, error))?.len();
            sftp.put(file, total, remote, mode, progress).await
        }
    }
}

async fn get(
    sftp: &Sftp,
    remote: &str,
    local: &Path,
    progress: Option<Progress<'_>>,
) -> Result<(), SshError> {
    let folder = match local.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let unwritable = |error| unwritable(local, error);
    let new = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    let mut file = tokio::fs::File::from_std(new.reopen().map_err(unwritable)?);
    sftp.get(remote, &mut file, progress).await?;
    file.flush().await.map_err(unwritable)?;
    let mode = sftp.stat(remote).await?.and_then(|found| found.permissions);
    let mode = fs::Permissions::from_mode(mode.unwrap_or(0o600) & 0o777);
    new.as_file().set_permissions(mode).map_err(unwritable)?;
    let placed = new.persist(local);
    placed.map(drop).map_err(|error| unwritable(error.error))
}

/// A local file or folder and all in it, each folder before what it holds.
fn tree(root: &Path) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
    let mut found = vec![(root.to_owned(), fs::metadata(root)?)];
    let mut next = 0;
    while let Some((path, metadata)) = found.get(next).cloned() {
        next += 1;
        if metadata.is_dir() {
            for entry in fs::read_dir(path)? {
                let path = entry?.path();
                let metadata = fs::metadata(&path)?;
                found.push((path, metadata));
            }
        }
    }
    Ok(found)
}

async fn put_tree(
    sftp: &Sftp,
    local: &Path,
    remote: &str,
    progress: Option<Progress<'_>>,
) -> Result<(), SshError> {
    let found = tree(local).map_err(|error| unreadable(local, error))?;
    for (path, metadata) in found {
        let mode = metadata.permissions().mode() & 0o777;
        let target = match path.strip_prefix(local) {
            Ok(rest) if !rest.as_os_str().is_empty() => {
                format!("{remote}/{}", utf8(rest)?)
            }
            _ => remote.to_owned(),
        };
        if metadata.is_dir() {
            sftp.make_folder(&target, mode).await?;
        } else if metadata.is_file() {
            put(sftp, Source::File(&path), &target, mode, progress).await?;
        } else {
            let error = io::Error::other("it is neither a file nor a folder");
            return Err(unreadable(&path, error));
        }
    }
    Ok(())
}

async fn get_tree(
    sftp: &Sftp,
    remote: &str,
    local: &Path,
    progress: Option<Progress<'_>>,
) -> Result<(), SshError> {
    let mut left = vec![(remote.trim_end_matches('/').to_owned(), local.to_owned())];
    while let Some((remote, local)) = left.pop() {
        let folder = sftp
            .stat(&remote)
            .await?
            .is_some_and(|found| found.is_dir());
        if !folder {
            get(sftp, &remote, &local, progress).await?;
            continue;
        }
        fs::create_dir_all(&local).map_err(|error| unwritable(&local, error))?;
        for file in sftp.list(&remote).await? {
            // A name with a slash, or of a parent, would lead out of the folder.
            if file.filename.contains('/') || file.filename.is_empty() {
                continue;
            }
            let path = format!("{remote}/{}", file.filename);
            left.push((path, local.join(&file.filename)));
        }
    }
    Ok(())
}

async fn into_folder(sftp: &Sftp, remote: &str, local: &Path) -> Result<String, SshError> {
    let folder = sftp.stat(remote).await?.is_some_and(|found| found.is_dir());
    match local.file_name() {
        Some(name) if folder => Ok(format!(
            "{}/{}",
            remote.trim_end_matches('/'),
            utf8(Path::new(name))?
        )),
        _ => Ok(remote.to_owned()),
    }
}

fn utf8(path: &Path) -> Result<&str, SshError> {
    let text = path.to_str();
    text.ok_or_else(|| unreadable(path, io::Error::other("its name is not UTF-8")))
}

fn unreadable(path: &Path, source: io::Error) -> SshError {
    SshError::LocalFile {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

fn unwritable(path: &Path, source: io::Error) -> SshError {
    SshError::LocalFile {
        action: "write",
        path: path.to_owned(),
        source,
    }
}
