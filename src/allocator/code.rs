//! Pages of the program's own code.

use std::fs;
use std::path::Path;

use rustix::mm::{Advice, madvise};

/// Takes the program's code out of this process's memory, for a program that has begun: most of what it needed for that it
/// needs no more. What runs comes back, page by page, from the file or where the system keeps it anyway.
pub fn let_go_of_code() {
    // Where these cannot be read, the code stays.
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe")) else {
        return;
    };
    for (start, length) in maps.lines().filter_map(|line| code(line, &program)) {
        // SAFETY: nobody writes to code, so what the pages hold is what the file holds, and they come back as they were.
        let let_go = unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), length, Advice::LinuxDontNeed) };
        if let Err(error) = let_go {
            tracing::debug!(%error, "the code of the start stays in memory");
        }
    }
}

/// Where a line of the list of mappings says that code of the program lies, and how much of it, bytes. Not what else of the file is
/// mapped: addresses were written into some of that.
fn code(line: &str, program: &Path) -> Option<(usize, usize)> {
    let mut fields = line.splitn(6, ' ');
    let (range, rights) = (fields.next()?, fields.next()?);
    if rights != "r-xp" || Path::new(fields.nth(3)?.trim_start()) != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_the_program_is_what_is_mapped_to_be_run_of_its_file() {
        let program = Path::new("/opt/key gate/keygate");
        let line =
            |rights: &str, path: &str| format!("7f0000001000-7f0000003000 {rights} 00001000 fe:00 1234    {path}");
        let ours = "/opt/key gate/keygate";
        assert_eq!(code(&line("r-xp", ours), program), Some((0x7f00_0000_1000, 0x2000)));
        for rights in ["r--p", "rw-p", "rwxp", "r-xs"] {
            assert_eq!(code(&line(rights, ours), program), None, "{rights}");
        }
        for path in ["/usr/lib/libc.so.6", "[vdso]", "", "/opt/key"] {
            assert_eq!(code(&line("r-xp", path), program), None, "{path}");
        }
        for odd in ["", "7f00-", "x-y r-xp 0 0 0 /opt/key gate/keygate", "2000-1000 r-xp 0 0 0 /opt/key gate/keygate"] {
            assert_eq!(code(odd, program), None, "{odd}");
        }
    }

    #[test]
    fn a_program_runs_on_without_the_code_of_its_start() {
        let resident = || {
            let maps = fs::read_to_string("/proc/self/smaps").unwrap();
            let program = fs::read_link("/proc/self/exe").unwrap();
            let mut lines = maps.lines();
            let mut pages = 0;
            while lines.find(|line| code(line, &program).is_some()).is_some() {
                let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
                pages += rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
            }
            pages
        };
        assert!(resident() > 0);
        let_go_of_code();
        assert!(resident() > 0, "this very line");
    }
}
