import { it } from "vitest";
import { formatSource, parseSource } from "#agent/source";

it("a source is read and written back", ({ expect }) => {
  for (const text of [
    "virtio-serial:org.hatchway.0",
    "vsock:2:5107",
    "vsock:4294967295:0",
    "unix:/run/api",
    "tls:10.0.2.2:5107",
    "tls:vault.example.org:443",
    "tls:[fd00::1]:5107",
    "fw-cfg",
    "smbios",
    "unix-serial:/p",
    "label:HATCHWAY",
    "serial:HATCHWAY-1",
    "dir:/mnt/share",
    "file:/run/b.tar",
    "ssh:web-1@host.example",
    "ssh:_r.1@192.0.2.1:2222",
    "ssh:r@[2001:db8::1]:2222",
  ]) {
    expect(formatSource(parseSource(text))).toBe(text);
  }
});

it("a source that is none is refused with what it should be", ({ expect }) => {
  const cases: [string, string][] = [
    [
      "",
      "should be one of virtio-serial:NAME, vsock:CID:PORT, tls:HOST:PORT, unix:PATH, fw-cfg, smbios, label:NAME, serial:NAME, dir:PATH, file:PATH, ssh:USER@HOST",
    ],
    ["label:a b", "should be label:NAME"],
    ["serial:", "should be serial:NAME"],
    ["dir:share", "should be dir:PATH, an absolute path"],
    ["file:", "should be file:PATH"],
    ["http://x", "should be one of"],
    ["vsock:2", "should be vsock:CID:PORT"],
    ["vsock:2:5107:1", "should be vsock:CID:PORT"],
    ["vsock:02:5107", "should be vsock:CID:PORT"],
    ["vsock:4294967296:1", "should be vsock:CID:PORT"],
    ["unix:relative", "an absolute path"],
    [`unix:/${"x".repeat(107)}`, "at most 107 bytes"],
    ["virtio-serial:a/b", "should be virtio-serial:NAME"],
    ["fw-cfg:x", "should be fw-cfg alone"],
    ["ssh:host", "should be ssh:USER@HOST"],
    ["ssh:-oProxyCommand=id@host", "should be ssh:USER@HOST"],
    ["ssh:r@-oProxyCommand=id", "should be ssh:USER@HOST"],
    ["ssh:r@host:0", "should be ssh:USER@HOST"],
    ["ssh:r@host:65536", "should be ssh:USER@HOST"],
    ["ssh:r@host -x", "should be ssh:USER@HOST"],
    ["ssh:r@2001:db8::1", "an IPv6 address in brackets"],
    ["tls:host", "should be tls:HOST:PORT"],
    ["tls:host:0", "should be tls:HOST:PORT"],
    ["tls:host:65536", "should be tls:HOST:PORT"],
    ["tls:fd00::1:5107", "should be tls:HOST:PORT"],
    ["tls:-x:1", "should be tls:HOST:PORT"],
  ];
  for (const [text, problem] of cases) expect(() => parseSource(text)).toThrow(problem);
});
