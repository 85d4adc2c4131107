// The admin API from inside a guest that has no curl: perl, which every Debian has. Starting our own CLI takes seconds there.

const SCRIPT = `use Socket;
my ($method, $path, $body) = @ARGV;
socket(my $peer, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!\\n";
connect($peer, pack_sockaddr_un("/run/hatchway/hatchway.sock")) or die "connect: $!\\n";
my $type = substr($body, 0, 1) eq "{" ? "application/json" : "application/octet-stream";
my $request = "$method $path HTTP/1.1\\r\\nhost: h\\r\\nconnection: close\\r\\ncontent-type: $type\\r\\n";
syswrite $peer, $request . "content-length: " . length($body) . "\\r\\n\\r\\n$body";
local $/;
my $answer = <$peer>;
my ($head, $text) = split /\\r\\n\\r\\n/, $answer, 2;
print $text;
exit($head =~ /^HTTP\\/1.1 2/ ? 0 : 1);`;

/** A command that sends one request, prints the body of the answer, and fails where the status is none of 200 to 299. */
export function adminRequest(method: string, path: string, body: object | string = ""): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return ["perl", "-e", SCRIPT, method, path, text].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}
