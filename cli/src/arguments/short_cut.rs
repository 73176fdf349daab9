//! Arguments about short cuts of the host: names, help, and which of them exclude each other. Must not look anything up.

use clap::{Args, ValueEnum};
use cloud_machine_operation::ReimageOptions;
use cloud_machine_protocol::Tier;
use cloud_machine_store::Strategy;

use super::TierChoice;
use crate::failure::{Failure, Kind};

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ShortCut {
    /// How the system disk becomes the image again
    #[arg(long, value_enum, default_value_t = StrategyChoice::Auto)]
    pub(crate) strategy: StrategyChoice,
    /// What the machine reads before it writes, with strategy rewrite
    #[arg(long, value_enum, default_value_t = TierChoice::Auto)]
    pub(crate) tier: TierChoice,
    /// Compare all of the golden disk now, also when its file has not changed; with strategy overlay
    #[arg(long)]
    pub(crate) verify_golden: bool,
    /// Have the machine's provider keep the disk as this reimage leaves it, for strategy rebuild; it costs until the machine is deleted
    #[arg(long)]
    pub(crate) snapshot: bool,
}

/// How the system disk becomes the image again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyChoice {
    /// The first of the others that is possible now; a golden disk is used and not made
    Auto,
    /// A fresh overlay on the host's golden disk, made once; the machine reads boot head and a sample
    Overlay,
    /// The machine reads what the host's map of writes names, boot head and a sample; without a good map as rewrite
    Hinted,
    /// The machine reads everything and puts right what differs; of a root on ZFS it makes the pool anew
    Rewrite,
    /// A root on ZFS only: the machine keeps its pool, clones the image's files in it and compares all of them. Unproven
    Clone,
    /// A provider's machine only: the provider writes the disk that it keeps (--snapshot) over the job's; nothing is read back
    Rebuild,
}

impl ShortCut {
    /// What is asked for.
    pub(crate) fn options(self) -> Result<ReimageOptions, Failure> {
        let usage = |text: &str| Err(Failure::new(Kind::Usage, text));
        let strategy = match self.strategy {
            StrategyChoice::Auto => None,
            StrategyChoice::Overlay => Some(Strategy::Overlay),
            StrategyChoice::Hinted => Some(Strategy::Hinted),
            StrategyChoice::Rewrite => Some(Strategy::Rewrite),
            StrategyChoice::Clone => Some(Strategy::Clone),
            StrategyChoice::Rebuild => Some(Strategy::Rebuild),
        };
        let tier = match self.tier {
            TierChoice::Auto => None,
            TierChoice::Scan => Some(Tier::Scan),
            TierChoice::Stream => Some(Tier::Stream),
        };
        if tier.is_some() && strategy != Some(Strategy::Rewrite) {
            return usage("--tier is for --strategy rewrite");
        }
        if self.verify_golden && !matches!(strategy, None | Some(Strategy::Overlay)) {
            return usage("--verify-golden is for --strategy overlay");
        }
        if self.snapshot && strategy == Some(Strategy::Rebuild) {
            return usage("--snapshot is for the disk that an agent has read back, not for --strategy rebuild");
        }
        Ok(ReimageOptions { strategy, tier, verify_golden: self.verify_golden, snapshot: self.snapshot })
    }
}
