//! Running programs: the binary under test and the tools that look at it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a program did.
pub struct Ran {
    /// The command as one could type it.
    pub command: String,
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Fails unless it went well; hands on its standard output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\nexit code {:?}\n{}{}", self.command, self.code, self.stdout, self.stderr)
    }
}

/// The binary under test with these arguments, nothing of the caller's environment that could change what it does.
pub fn keygate<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command.args(args).env_remove("KEYGATE_CONFIG").env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Runs a command to its end, with `stdin` as its input.
pub fn run(mut command: Command, stdin: &[u8]) -> Ran {
    let typed = typed(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start `{typed}`: {e}"));
    // A program that does not read its input closes it; that is its good right.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    finished(typed, &child.wait_with_output().unwrap())
}

fn finished(command: String, output: &Output) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { command, code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// A command as one could type it.
pub fn typed(command: &Command) -> String {
    let mut text = Path::new(command.get_program()).file_name().unwrap().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        let quote = if arg.is_empty() || arg.contains([' ', '"', '{']) { "'" } else { "" };
        write!(text, " {quote}{arg}{quote}").unwrap();
    }
    text
}

/// Whether a tool is there.
pub fn found(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

/// The Python of the tests' virtual environment, which `tests/all` makes.
pub fn venv_python() -> Option<String> {
    std::env::var("KEYGATE_TEST_PYTHON").ok().or_else(|| {
        let usual = format!("{}/target/test-venv/bin/python3", env!("CARGO_MANIFEST_DIR"));
        std::path::Path::new(&usual).is_file().then_some(usual)
    })
}

/// Sends a signal (`TERM`, `INT`, `KILL`, `STOP`, `CONT`) to one process by its id.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success(), "cannot send {name} to process {pid}");
}
