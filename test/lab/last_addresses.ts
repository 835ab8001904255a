/**
 * What host-local goes by when it chooses an address: the one that it gave last, and those that were released
 * last, which are an attribute of its lock. No command of every machine knows attributes; perl has syscall.
 */
import type { Namespace } from "./namespace.ts";

type Node = Pick<Namespace, "exec">;

/** getxattr(2), setxattr(2) and removexattr(2). */
const numbers = process.arch === "x64" ? "191, 188, 197" : "8, 5, 14";

const COMMON = `
my ($get, $set, $remove) = (${numbers});
my $attribute = "user.flannel-cni.released";
my $files = "/var/lib/cni/networks/*/{lock,last_reserved_ip.0,last_reserved_ip.1}";
`;

const SAVE = `${COMMON}
for my $file (grep { -f && -s _ < 4096 } glob $files) {
  my $value = "\\0" x 4096;
  my $length = syscall($get, $file, $attribute, $value, 4096);
  open my $in, "<", $file;
  print join(" ", map { "x" . unpack "H*", $_ } $file, join("", <$in>), substr($value, 0, $length < 0 ? 0 : $length)), "\\n";
}
`;

const RESTORE = `${COMMON}
my %saved;
for (<STDIN>) {
  my ($file, @values) = map { pack "H*", substr $_, 1 } split;
  $saved{$file} = \\@values;
}
for my $file (grep { -f && -s _ < 4096 } glob $files) {
  my ($content, $value) = @{ $saved{$file} || ["", ""] };
  if ($file =~ /lock$/) {
    if ($value eq "") { syscall($remove, $file, $attribute) }
    else { syscall($set, $file, $attribute, $value, length $value, 0) }
  } elsif ($saved{$file}) {
    open my $out, ">", $file;
    print $out $content;
  } else { unlink $file }
}
`;

/** @returns a function that puts back what host-local goes by now. */
export async function keepLastAddresses(node: Node): Promise<() => Promise<unknown>> {
  const { stdout: saved } = await node.exec("perl", ["-e", SAVE]);
  return async () => node.exec("perl", ["-e", RESTORE], { input: saved });
}
