//! The `shoal-node` program.

use std::process::ExitCode;

use clap::ArgMatches;
use shoal_net::{Control, cluster::NotHandedOver, fatal, flags, shutdown, telemetry};
use shoal_node::{
    config::Config,
    flags::NodeFlags,
    launch::{self, NodeSettings},
    memory_limit::Available,
};

/// Exit status of a node that left before it had handed over all its slots. 1: it could not start; 2: wrong flags; 130: a second signal.
const NOT_HANDED_OVER: u8 = 3;

fn main() -> ExitCode {
    fatal::end_process_on_panic();
    let (flags, matches) = flags::parse();
    match run(flags, &matches) {
        Ok(()) => {
            telemetry::flush_logs();
            ExitCode::SUCCESS
        }
        Err(error) => {
            telemetry::last_words("shoal-node", &error);
            if error.is::<NotHandedOver>() { ExitCode::from(NOT_HANDED_OVER) } else { ExitCode::FAILURE }
        }
    }
}

fn run(flags: NodeFlags, matches: &ArgMatches) -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "adjacent")]
    if let Ok(version) = std::env::var("SHOAL_SPEAK") {
        shoal_proto::version::all_speak(version.parse()?);
    }
    telemetry::init_logs(&flags.common.log_level, flags.common.log_format)?;
    if flags.bootstrap_expect > 1 && flags.common.join.is_empty() {
        return Err(format!(
            "--bootstrap-expect {} needs --join: there is no way to find others",
            flags.bootstrap_expect
        )
        .into());
    }
    let addresses = flags.common.addresses(&NodeFlags::default_listen());
    let settings = NodeSettings {
        listen: addresses.listen,
        gossip: addresses.gossip,
        admin: Some(addresses.admin),
        join: flags.common.join.clone(),
        bootstrap_expect: flags.bootstrap_expect,
        threads: flags.common.thread_count(),
        name: flags.name.clone(),
        announce: flags.announce.clone(),
        weight: flags.weight,
        zone: flags.zone.clone(),
        replication: flags.copies.replication(),
        config: config(&flags, matches)?,
        ..NodeSettings::new(flags.common.addresses(&NodeFlags::default_listen()).listen)
    };
    let control = Control::start("node-control")?;
    let (trigger, shutdown) = shutdown::channel();
    let (stop, stopped) = shutdown::channel();
    let (signal, signalled) = shutdown::channel();
    shutdown::on_signals(&control, signal)?;
    // Leaving the cluster still needs gossip, so what runs there ends later than the wish to stop is uttered.
    let mut node = launch::start(settings, &control, &shutdown, move || stop.fire())?;
    let admin = node.admin.map(|a| format!(", metrics and health on http://{a}")).unwrap_or_default();
    let place = format!("{}, gossip on {}{admin}", node.resp, node.cluster.gossip_addr());
    tracing::info!("listening on {place}");
    let readiness = node.tell_readiness(place);
    let ended: Result<_, String> = control.run(async move {
        tokio::select! {
            () = stopped.wait() => {}
            () = signalled.wait() => {}
            why = node.failed() => return Err(why),
            never = readiness => match never {},
        }
        let handed_over = node.leave().await;
        trigger.fire();
        Ok(handed_over)
    })?;
    ended??;
    tracing::info!("stopped");
    Ok(())
}

/// The settings that have flags, checked as `CONFIG SET` would.
fn config(flags: &NodeFlags, matches: &ArgMatches) -> Result<Config, String> {
    let config = Config::default();
    let by = flags::source(matches, "maxmemory");
    let given = flags.maxmemory.as_deref().map(|text| (text, by.as_str()));
    let maxmemory = Available::here()
        .maxmemory(given, 1)
        .map_err(|why| format!("{by} '{}': {why}", flags.maxmemory.as_deref().unwrap_or_default()))?;
    let bytes = maxmemory.bytes.to_string();
    let given = [
        ("maxmemory", Some(&bytes)),
        ("maxmemory-policy", Some(&flags.maxmemory_policy)),
        ("maxclients", Some(&flags.maxclients)),
        ("requirepass", flags.requirepass.as_ref()),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            let wrong = |why: String| format!("{} '{value}': {why}", flags::source(matches, name));
            config.set_at_start(name, value).map_err(wrong)?;
        }
    }
    tracing::info!("maxmemory is {maxmemory}, maxmemory-policy {}", config.get("maxmemory-policy"));
    if let Some(excess) = maxmemory.excess {
        tracing::warn!("{excess}: the system may end the process");
    }
    Ok(config)
}
