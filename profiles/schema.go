package profiles

import "time"

// profileKeys are the keys of a profile but for extends, [tasks] and
// [profiles], which say how profiles hang together. Lists append, scalars
// override, tables override by name; `narrows` marks the exception.
var profileKeys = []key[Profile]{
	scalar[Profile, string]{"root.image", `"ubuntu:24.04"`, word("ubuntu:24.04", parseReference), func(p *Profile) *Val[string] { return &p.Root.Image }, grantOther("a root filesystem from the image %q")},
	scalar[Profile, string]{"root.dir", `"path"`, parsePath, func(p *Profile) *Val[string] { return &p.Root.Dir }, grantOther("a root filesystem from the folder %q")},
	scalar[Profile, User]{"root.user", `"me"`, word("me", parseUser), func(p *Profile) *Val[User] { return &p.Root.User }, grantUser},
	scalar[Profile, Groups]{"root.groups", `"drop"`, oneOf(GroupsDrop, GroupsKeep), func(p *Profile) *Val[Groups] { return &p.Root.Groups }, grantGroups},
	scalar[Profile, BootTime]{"root.boottime", `"host"`, oneOf(BootTimeHost, BootTimeZero), func(p *Profile) *Val[BootTime] { return &p.Root.BootTime }, grantBootTime},

	scalar[Profile, Access]{"files.project", `"write"`, oneOf(AccessWrite, AccessRead, AccessReview, AccessNone), func(p *Profile) *Val[Access] { return &p.Files.Project }, grantProject},
	scalar[Profile, Parent]{"files.parent", `"none"`, oneOf(ParentNone, ParentReview), func(p *Profile) *Val[Parent] { return &p.Files.Parent }, grantParent},
	scalar[Profile, Access]{"files.git", `"read"`, oneOf(AccessRead, AccessWrite), func(p *Profile) *Val[Access] { return &p.Files.Git }, grantGit},
	list[Profile, string]{name: "files.read", like: `"~/.config/pnpm"`, parse: parsePath, at: func(p *Profile) *List[string] { return &p.Files.Read }, grant: grantRead},
	list[Profile, string]{name: "files.write", like: `"~/.cache/sccache"`, parse: parsePath, at: func(p *Profile) *List[string] { return &p.Files.Write }, grant: grantWrite},
	list[Profile, string]{name: "files.hide", like: `"secrets/"`, parse: parseHide, at: func(p *Profile) *List[string] { return &p.Files.Hide }},
	list[Profile, string]{name: "files.tmpfs", like: `"/scratch"`, parse: parseTmpfs, at: func(p *Profile) *List[string] { return &p.Files.Tmpfs }},
	list[Profile, Mount]{name: "files.mounts", like: `"~/data:/data:ro"`, parse: parseMount, at: func(p *Profile) *List[Mount] { return &p.Files.Mounts }, same: func(a, b Mount) bool { return a.Dst == b.Dst }, grant: grantMount},
	list[Profile, Volume]{name: "files.volumes", like: `"cache:/var/cache/x"`, parse: parseVolume, at: func(p *Profile) *List[Volume] { return &p.Files.Volumes }, same: func(a, b Volume) bool { return a.Dst == b.Dst }, grant: grantVolume},
	list[Profile, string]{name: "files.devices", like: `"/dev/kvm"`, parse: word("/dev/kvm", parseDevice), at: func(p *Profile) *List[string] { return &p.Files.Devices }, grant: grantListed("the device %q")},
	list[Profile, string]{name: "files.capture", like: `"../"`, parse: parsePath, at: func(p *Profile) *List[string] { return &p.Files.Capture }, grant: grantCapture},
	list[Profile, string]{name: "files.caches", like: `"~/.npm/_cacache"`, parse: parsePath, at: func(p *Profile) *List[string] { return &p.Files.Caches }, grant: grantCaches},
	scalar[Profile, Home]{"files.home", `"empty"`, oneOf(HomeEmpty, HomeKept), func(p *Profile) *Val[Home] { return &p.Files.Home }, grantHome},

	scalar[Profile, bool]{"files.git_user", `true`, parseBool, func(p *Profile) *Val[bool] { return &p.Files.GitUser }, grantGitUser},

	scalar[Profile, NetMode]{"network.mode", `"none"`, word("none", parseNetMode), func(p *Profile) *Val[NetMode] { return &p.Network.Mode }, grantNetwork},
	list[Profile, Rule]{name: "network.allow", like: `"@npm"`, parse: word("example.org:443", ParseRule), at: func(p *Profile) *List[Rule] { return &p.Network.Allow }, narrows: true, grant: grantAllow},
	list[Profile, Port]{name: "network.ports", like: `"127.0.0.1:3000:3000"`, parse: word("127.0.0.1:3000:3000", ParsePort), at: func(p *Profile) *List[Port] { return &p.Network.Ports }, grant: grantPort},

	scalar[Profile, Size]{"limits.memory", `"4GiB"`, parseSize, func(p *Profile) *Val[Size] { return &p.Limits.Memory }, grantSize("memory up to")},
	scalar[Profile, Size]{"limits.memory_high", `"3GiB"`, parseSize, func(p *Profile) *Val[Size] { return &p.Limits.MemoryHigh }, grantSize("memory without being slowed up to")},
	scalar[Profile, Size]{"limits.swap", `"1GiB"`, parseSwap, func(p *Profile) *Val[Size] { return &p.Limits.Swap }, grantSwap},
	scalar[Profile, Size]{"limits.tmpfs", `"1GiB"`, parseSize, func(p *Profile) *Val[Size] { return &p.Limits.Tmpfs }, grantSize("folders in memory up to")},
	scalar[Profile, float64]{"limits.cpus", `2.0`, parseCPUs, func(p *Profile) *Val[float64] { return &p.Limits.CPUs }, grantMore[float64]("up to %v processors")},
	scalar[Profile, int64]{"limits.cpu_weight", `50`, parseWeight, func(p *Profile) *Val[int64] { return &p.Limits.CPUWeight }, grantWeight("processors")},
	scalar[Profile, CPUSet]{"limits.cpuset", `"0-3"`, word("0-3", parseCPUSet), func(p *Profile) *Val[CPUSet] { return &p.Limits.CPUSet }, grantCPUSet},
	scalar[Profile, int64]{"limits.pids", `512`, parsePids, func(p *Profile) *Val[int64] { return &p.Limits.Pids }, grantPids},
	scalar[Profile, int64]{"limits.io_weight", `50`, parseWeight, func(p *Profile) *Val[int64] { return &p.Limits.IOWeight }, grantWeight("disks")},
	scalar[Profile, Size]{"limits.io_read", `"50MiB"`, parseSize, func(p *Profile) *Val[Size] { return &p.Limits.IORead }, grantSize("reading disks, in a second, up to")},
	scalar[Profile, Size]{"limits.io_write", `"50MiB"`, parseSize, func(p *Profile) *Val[Size] { return &p.Limits.IOWrite }, grantSize("writing disks, in a second, up to")},
	scalar[Profile, time.Duration]{"limits.time", `"30m"`, parseTime, func(p *Profile) *Val[time.Duration] { return &p.Limits.Time }, grantMore[time.Duration]("a time limit of %v")},
	scalar[Profile, Enforce]{"limits.enforce", `"required"`, oneOf(EnforceRequired, EnforceBestEffort), func(p *Profile) *Val[Enforce] { return &p.Limits.Enforce }, grantEnforce},

	list[Profile, string]{name: "env.pass", like: `"CI"`, parse: word("CI", parsePass), at: func(p *Profile) *List[string] { return &p.Env.Pass }, grant: grantPass},
	dict[Profile]{"env.set", `{ NODE_ENV = "development" }`, parseEnvName, word("development", parseEnvValue), func(p *Profile) *map[string]Val[string] { return &p.Env.Set }},

	scalar[Profile, Seccomp]{"harden.seccomp", `"default"`, oneOf(SeccompDefault, SeccompStrict, SeccompOff), func(p *Profile) *Val[Seccomp] { return &p.Harden.Seccomp }, grantSeccomp},
	list[Profile, string]{name: "harden.syscalls", like: `"io_uring_setup"`, parse: word("io_uring_setup", parseSyscall), at: func(p *Profile) *List[string] { return &p.Harden.Syscalls }, grant: grantListed("the system call %s")},
	list[Profile, string]{name: "harden.cap_add", like: `"CAP_NET_RAW"`, parse: word("CAP_NET_RAW", parseCap), at: func(p *Profile) *List[string] { return &p.Harden.CapAdd }, grant: grantListed("the capability %s")},
	list[Profile, string]{name: "harden.cap_drop", like: `"CAP_NET_RAW"`, parse: word("CAP_NET_RAW", parseCap), at: func(p *Profile) *List[string] { return &p.Harden.CapDrop }},
	scalar[Profile, Level]{"harden.require", `"full"`, oneOf(LevelFull, LevelSingleID, LevelOuterProc, LevelUnlimited, LevelNone), func(p *Profile) *Val[Level] { return &p.Harden.Require }, grantRequire},
	scalar[Profile, bool]{"harden.nested", `false`, parseBool, func(p *Profile) *Val[bool] { return &p.Harden.Nested }, grantNested},
	scalar[Profile, bool]{"harden.set_uid", `false`, parseBool, func(p *Profile) *Val[bool] { return &p.Harden.SetUID }, grantSetUID},
}

// configKeys are the keys of config.toml but for [registries].
var configKeys = []key[Config]{
	scalar[Config, string]{"profile", `"host"`, word("host", parseName), func(c *Config) *Val[string] { return &c.Profile }, nil},
	dict[Config]{"aliases", `{ ubuntu = "example.org/library/ubuntu:24.04" }`, parseName, word("ubuntu:24.04", parseReference), func(c *Config) *map[string]Val[string] { return &c.Aliases }},
	scalar[Config, string]{"storage.driver", `"auto"`, oneOf("auto", "overlay", "fuse-overlayfs"), func(c *Config) *Val[string] { return &c.Storage.Driver }, nil},
	scalar[Config, string]{"storage.capture", `"auto"`, oneOf("auto", "copy"), func(c *Config) *Val[string] { return &c.Storage.Capture }, nil},
	scalar[Config, Size]{"storage.layer_limit", `"64GiB"`, parseSize, func(c *Config) *Val[Size] { return &c.Storage.LayerLimit }, nil},
	scalar[Config, string]{"network.driver", `"auto"`, oneOf("auto", "slirp", "pasta", "builtin"), func(c *Config) *Val[string] { return &c.Network.Driver }, nil},
	list[Config, string]{name: "trust.folders", like: `"~/work"`, parse: parsePath, at: func(c *Config) *List[string] { return &c.Trust.Folders }},
	scalar[Config, Enforce]{"limits.enforce", `"required"`, oneOf(EnforceRequired, EnforceBestEffort), func(c *Config) *Val[Enforce] { return &c.Limits.Enforce }, nil},
}

// registryKeys are the keys of [registries."HOST"].
var registryKeys = []key[Registry]{
	list[Registry, string]{name: "mirrors", like: `"127.0.0.1:5000"`, parse: word("127.0.0.1:5000", parseReference), at: func(r *Registry) *List[string] { return &r.Mirrors }},
	scalar[Registry, bool]{"insecure", `true`, parseBool, func(r *Registry) *Val[bool] { return &r.Insecure }, nil},
}
