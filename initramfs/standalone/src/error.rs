//! Everything that keeps an initramfs from being built. Must not decide what follows.

use std::io;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A line of `modules.dep` or `modules.builtin` that depmod(8) does not write.
    #[error("cannot parse line {line} of {file}: {reason}")]
    ListInvalid {
        /// `modules.dep` or `modules.builtin`.
        file: &'static str,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A wanted module that the kernel has neither as a file nor built in.
    #[error(
        "kernel module {module:?} is neither in modules.dep nor in modules.builtin of the kernel's folder below /lib/modules"
    )]
    ModuleAbsent {
        /// Its name.
        module: String,
    },
    /// A dependency without a line of its own.
    #[error("module {module:?} needs {dependency:?}, which modules.dep of the kernel's folder does not list")]
    DependencyAbsent {
        /// Path of the module that needs it.
        module: String,
        /// Path of what it needs.
        dependency: String,
    },
    /// Modules that need each other.
    #[error("module {module:?} depends on itself in modules.dep")]
    DependencyCycle {
        /// Path of one of them.
        module: String,
    },
    /// A chain of dependencies that no kernel has.
    #[error("module {module:?} is needed through more than 100 others in modules.dep")]
    DependencyDeep {
        /// Path of the module at the end of the chain.
        module: String,
    },
    /// A module in a form that is not read.
    #[error(
        "module {module:?} is neither a .ko file nor one that xz, zstd or gzip compressed; decompress it and run depmod again"
    )]
    ModuleCompressed {
        /// Its path or file name.
        module: String,
    },
    /// A compressed module that is cut off, damaged or not compressed at all.
    #[error("cannot decompress module {module:?}")]
    ModuleDamaged {
        /// Its file name.
        module: String,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// Modules that are too large together.
    #[error(
        "with {module:?} the modules have more than {} MiB, the most that goes into an initramfs",
        crate::MAX_MODULES >> 20
    )]
    ModulesTooLarge {
        /// The file with which they are.
        module: String,
    },
    /// A module's file name that is none.
    #[error("invalid file name of a module {name:?}: expected letters, digits, _ and - followed by .ko")]
    ModuleName {
        /// The name, shortened.
        name: String,
    },
    /// A module file without a byte in it.
    #[error("module {name:?} is empty")]
    ModuleEmpty {
        /// Its file name.
        name: String,
    },
    /// More modules than three digits can number.
    #[error("{count} modules are too many: at most 999 can be numbered")]
    TooManyModules {
        /// How many there are.
        count: usize,
    },
    /// An agent without a byte in it.
    #[error("agent is empty")]
    AgentEmpty,
    /// A file beyond the archive format's limit of 4 GiB.
    #[error("file {name:?} of {size} bytes is too large for an initramfs: the limit is 4 GiB")]
    FileTooLarge {
        /// Its name in the archive.
        name: String,
        /// Its bytes.
        size: usize,
    },
    /// A path of the programs that is none.
    #[error("invalid path {path:?} of the programs: {reason}")]
    ProgramPath {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path of the programs that something else has.
    #[error("\"/{}\" of the programs is a path of the initramfs itself, or there twice", path.escape_debug())]
    ProgramPathTaken {
        /// The path.
        path: String,
    },
    /// A path of the programs below something that is no folder, or not there yet.
    #[error("\"/{}\" of the programs comes before its folder", path.escape_debug())]
    ProgramFolderAbsent {
        /// The path.
        path: String,
    },
    /// A symbolic link of the programs that leads out of them, to nothing, or in a circle.
    #[error(
        "symbolic link \"/{}\" to {target:?} does not lead to a file or folder of the programs",
        path.escape_debug()
    )]
    ProgramLink {
        /// Where the link is.
        path: String,
        /// What it holds.
        target: String,
    },
    /// Programs that are too large together.
    #[error(
        "with \"/{}\" the programs have more than {} MiB, the most that goes into an initramfs",
        path.escape_debug(),
        crate::MAX_PROGRAMS >> 20
    )]
    ProgramsTooLarge {
        /// The file with which they are.
        path: String,
    },
    /// The archive could not be written.
    #[error("cannot add {name:?} to the initramfs")]
    Archive {
        /// Name of the entry.
        name: String,
        /// What the writer said.
        #[source]
        source: io::Error,
    },
}
