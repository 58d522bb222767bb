//! ◆ The Unix socket at which a running process can be asked for its sockets.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

use super::error::HandoverError;

/// A socket that is bound, at a name that nobody knows before [`Door::open`]. Its file is removed on drop, unless
/// another process's has come in its place.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    /// Where its file is now.
    at: PathBuf,
    /// Device and number of its file.
    file: (u64, u64),
    listener: UnixListener,
}

impl Door {
    /// Binds beside `path`. For its own user alone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(path: &Path) -> Result<Self, HandoverError> {
        let at = path.with_extension(format!("{}.new", process::id()));
        let bind = || {
            // Of a process of the same number that ended long ago.
            let _ = fs::remove_file(&at);
            let listener = UnixListener::bind(&at)?;
            fs::set_permissions(&at, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            let file = fs::metadata(&at)?;
            Ok((listener, (file.dev(), file.ino())))
        };
        let (listener, file) =
            bind().map_err(|error| HandoverError::Bind { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), at, file, listener })
    }

    /// From here on others find it, instead of whatever was there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(&mut self) -> Result<(), HandoverError> {
        fs::rename(&self.at, &self.path)
            .map_err(|error| HandoverError::Bind { path: self.path.clone(), error })?;
        self.at.clone_from(&self.path);
        Ok(())
    }

    /// Where others find it once it is open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second hold of the socket, to accept at.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let is_ours = |file: fs::Metadata| (file.dev(), file.ino()) == self.file;
        if fs::symlink_metadata(&self.at).is_ok_and(is_ours) {
            // Whoever comes next sees that nobody listens; the file itself does no harm.
            let _ = fs::remove_file(&self.at);
        }
    }
}

/// Makes sure that no process is there that would have to be asked first.
///
/// # Errors
/// Where one is.
pub fn assert_nobody(path: &Path) -> Result<(), HandoverError> {
    match UnixStream::connect(path) {
        Ok(_) => Err(HandoverError::Taken(path.to_owned())),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_ones_file_is_left_alone() {
        let path = std::env::temp_dir().join(format!("slotway-door-{}.sock", process::id()));
        let mut first = Door::bind(&path).unwrap();
        assert!(!path.exists());
        first.open().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(assert_nobody(&path), Err(HandoverError::Taken(_))));
        let mut second = Door::bind(&path).unwrap();
        second.open().unwrap();
        drop(first);
        assert!(path.exists(), "it is the second's");
        drop(second);
        assert!(!path.exists() && assert_nobody(&path).is_ok());
    }
}
