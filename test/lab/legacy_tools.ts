/** A shell script that makes a folder with iptables-legacy's tools under the names without "legacy". */
export function linkLegacyTools(folder: string): string {
  return `
    mkdir -p ${folder}
    for program in iptables ip6tables; do
      for part in "" -save -restore; do
        ln -s "$(command -v "$program-legacy$part")" "${folder}/$program$part"
      done
    done
  `;
}
