//! Disks for an audit folder that become full, broken or read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::command::{Ran, run};

fn ran(program: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args);
    run(command, b"")
}

/// A small disk of its own, mounted over the audit folder.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub fn mount(folder: &'a Path, size: &str) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(folder);
        (run(command, b"").code == Some(0)).then_some(Self(folder))
    }
}

impl SmallDisk<'_> {
    pub fn becomes(&self, size: &str) {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,size={size}")]).arg(self.0);
        run(command, b"").ok();
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(self.0);
        run(command, b"");
    }
}

/// A disk with a file system of its own in a file, mounted over the audit folder.
pub struct Ext4 {
    folder: PathBuf,
    image: PathBuf,
    device: String,
}

impl Ext4 {
    /// None without the right to do that, or without the tools.
    pub fn mount(folder: &Path, beside: &Path) -> Option<Self> {
        let image = beside.join("disk.img");
        std::fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).unwrap();
        let mut make = Command::new("mkfs.ext4");
        make.arg("-q").arg(&image);
        if make.stdout(std::process::Stdio::null()).status().ok()?.code() != Some(0) {
            return None;
        }
        let mut disk = Self { folder: folder.to_owned(), image, device: String::new() };
        disk.attach().then_some(disk)
    }

    fn attach(&mut self) -> bool {
        let shown = ran("losetup", &["--find", "--show", self.image.to_str().unwrap()]);
        shown.stdout.trim().clone_into(&mut self.device);
        let options = ["-o", "errors=remount-ro", &self.device, self.folder.to_str().unwrap()];
        shown.code == Some(0) && ran("mount", &options).code == Some(0)
    }

    /// From now on everything fails with EIO, as when the device is gone.
    pub fn breaks(&self) {
        // EXT4_IOC_SHUTDOWN, without a journal commit.
        let script = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        ran("python3", &["-c", script, self.folder.to_str().unwrap()]).ok();
    }

    /// The file system finds an error in itself, and lets nobody write any more.
    pub fn becomes_read_only(&self) {
        let name = Path::new(&self.device).file_name().unwrap().to_str().unwrap();
        std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "planted").unwrap();
    }

    /// As after somebody looked at it: mounted anew. Nobody may have a file open there.
    pub fn is_mended(&mut self) {
        self.detach();
        ran("fsck.ext4", &["-fy", self.image.to_str().unwrap()]);
        assert!(self.attach(), "the disk cannot be mounted again");
    }

    fn detach(&self) {
        ran("umount", &["--lazy", self.folder.to_str().unwrap()]);
        ran("losetup", &["--detach", &self.device]);
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        self.detach();
    }
}
