// A process that asks for a credential as systemd does, or says that it does: perl, which every Debian has.

const SCRIPT = `use Socket;
my ($name, $path) = @ARGV;
socket(my $peer, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!\\n";
if ($name ne "") { bind($peer, pack_sockaddr_un("\\0$name")) or die "bind: $!\\n"; }
connect($peer, pack_sockaddr_un($path)) or die "connect: $!\\n";
local $/;
binmode STDOUT;
print scalar <$peer>;`;

/** The command line of a process that binds itself to an abstract name ("": to none), connects, and prints the answer. */
export function askCredential(name: string, socket: string = "/run/hatchway/credentials.sock"): string[] {
  return ["perl", "-e", SCRIPT, name, socket];
}

/** Bytes of the answer that systemd takes for a failure: one more than a credential may have. */
export const REFUSED_BYTES: number = 1_048_577;
