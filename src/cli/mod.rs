//! The commands. Each file holds one: its arguments, and what it does.

mod audit;
mod check;
mod credential;
mod demo;
mod doctor;
mod explain;
mod hand_over;
mod init;
mod integration;
mod integration_list;
mod output;
mod pki;
mod profile;
pub mod report;
mod rotate;
mod run;
mod scan;
pub mod settings;
mod taken_over;
mod vault_failure;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use report::Failure;

use crate::process;
use crate::stand_in::{self, args::StandInArgs};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "keygate",
    version,
    about = "A small gate between a shop's integrations and a merchant API",
    long_about = "A small gate between a shop's integrations and a merchant API.\n\n\
        Integrations call the gate with scoped keys of their own; the gate holds the real API key, lets through\n\
        only what each integration may do, and keeps a record of every call that an auditor can check.",
    after_help = "Examples:\n  \
        keygate demo                                                    see it work, nothing to set up\n\n  \
        keygate init gate --upstream https://acme.channelengine.net/api\n  \
        export KEYGATE_CONFIG=$PWD/gate/keygate.toml\n  \
        keygate credential put acme\n  \
        keygate integration add webshop --upstream acme --allow orders:read --expires 180d\n  \
        keygate check && keygate run\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong arguments, 78 wrong configuration.",
    max_term_width = 110
)]
struct Cli {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        hide_env_values = true,
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a folder with everything that `run` needs
    Init(init::Init),
    /// Store, rotate, list and remove the real API keys
    #[command(subcommand)]
    Credential(credential::Credential),
    /// Add, list, rotate and revoke those who may call
    #[command(subcommand)]
    Integration(integration::Integration),
    /// Check the configuration and everything it names
    Check(check::Check),
    /// Look for what is wrong around the gate: keys, certificates, clocks, disk, limits, trust
    Doctor(doctor::Doctor),
    /// Run the gate
    Run(run::Run),
    /// Show the merchant APIs that Keygate knows
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Tell what the gate would say to a call, and why
    Explain(explain::Explain),
    // The first line of its help stands with its arguments.
    StandIn(StandInArgs),
    /// Read the audit log, check that it is whole
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Find keys that lie about in files, logs and shell histories
    Scan(scan::Scan),
    /// Show Keygate at work against a stand-in merchant API on this machine
    Demo(demo::Demo),
}

/// Reads the arguments, runs the command, tells what failed.
pub fn main() -> ExitCode {
    process::keep_others_out();
    process::panics_quote_nothing();
    let cli = Cli::parse();
    let code = dispatch(cli).unwrap_or_else(|failure| {
        failure.print();
        failure.code()
    });
    ExitCode::from(code)
}

/// The exit code of a command that ran; most know only 0.
fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let config = cli.config.as_path();
    match cli.command {
        Command::Init(args) => init::run(&args)?,
        Command::Credential(args) => return credential::run(&args, config),
        Command::Integration(args) => integration::run(&args, config)?,
        Command::Check(args) => return check::run(&args, config),
        Command::Doctor(args) => return doctor::run(&args, config),
        Command::Run(args) => run::run(&args, config)?,
        Command::Profile(args) => profile::run(&args)?,
        Command::Explain(args) => return explain::run(&args, config),
        Command::Audit(args) => return audit::run(&args, config),
        Command::StandIn(args) => run_stand_in(args)?,
        Command::Scan(args) => return scan::run(&args, config),
        Command::Demo(args) => return demo::run(&args),
    }
    Ok(0)
}

/// The stand-in knows nothing of the rest of the program, not even how it tells failures.
fn run_stand_in(args: StandInArgs) -> Result<(), Failure> {
    stand_in::args::run(args, &mut io::stdout())
        .map_err(|error| Failure::new("the stand-in merchant API cannot run").because(error))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_example() {
        fn look(command: &clap::Command, path: &str) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let leaf = command.get_subcommands().next().is_none();
            assert!(!leaf || help.contains("Examples:\n") && help.contains("  keygate "), "`{path}` has no example");
            command.get_subcommands().for_each(|sub| look(sub, &format!("{path} {}", sub.get_name())));
        }
        look(&Cli::command(), "keygate");
    }
}
