/** L9: whatever is in the place of a file, calls end, and say what is wrong. */
import { describe, expect, test } from "vitest";
import { binDir, cni, createSandbox, type CniAnswer, type Sandbox } from "../helpers/cni.ts";
import { testSome } from "../helpers/form.ts";
import { flannelConf, IPV4, subnetEnv } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

/** Milliseconds that a call may take, on a busy machine. */
const LIMIT = 8000;

/** Shell commands that put something there. */
const INTRUDERS: Readonly<Record<string, string>> = {
  "a FIFO": "mkfifo $PLACE",
  "a folder": "mkdir $PLACE",
  "a link to a device": "ln -s /dev/zero $PLACE",
  "a link to itself": "ln -s $PLACE $PLACE",
  "gigabytes of nothing": "truncate -s 3G $PLACE",
  "a file that nobody understands": "printf '\\0\\377{' > $PLACE",
};

const RESOLV_CONF = "/run/resolv.conf";

/** Where flannel, bridge and host-local read something, and whether an ADD can do without it. */
const PLACES: Readonly<Record<string, boolean>> = {
  "/run/flannel/subnet.env": false,
  "/var/lib/cni/flannel/pod1": false,
  "/var/lib/cni/networks/cbr0/10.244.1.2": true,
  "/var/lib/cni/networks/cbr0/last_reserved_ip.0": false,
  "/var/lib/cni/networks/cbr0/lock": false,
  "/run/flannel-cni/host-local": true,
  "/run/flannel-cni/locks": false,
  [RESOLV_CONF]: false,
};

async function node(): Promise<Sandbox> {
  const sandbox = await createSandbox();
  await sandbox.addPod("pod1");
  await sandbox.writeFile("/run/flannel/subnet.env", subnetEnv([IPV4]));
  await sandbox.writeFile(RESOLV_CONF, "nameserver 192.0.2.53\n");
  return sandbox;
}

async function call(sandbox: Sandbox, command: "ADD" | "DEL"): Promise<CniAnswer> {
  const conf = { ...flannelConf(), ipam: { resolvConf: RESOLV_CONF } };
  const started = performance.now();
  const answer = await cni(sandbox, { bin: binDir(), plugin: "flannel", command, conf });
  expect(performance.now() - started, `${command}: ${answer.stdout}`).toBeLessThan(LIMIT);
  if (answer.code !== 0) expectError(answer, [5, 11, 101, 102]);
  return answer;
}

const cases = Object.keys(PLACES).flatMap((place) =>
  Object.keys(INTRUDERS).map((intruder) => [intruder, place] as const),
);

describe.concurrent("L9 in the place of a file", () => {
  testSome(cases)("%s for %s", async ([intruder, place]) => {
    await using sandbox = await node();
    const put = `rm -rf $PLACE; mkdir -p \${PLACE%/*}; ${INTRUDERS[intruder] ?? ""}`;
    await sandbox.sh(put, { env: { PLACE: place } });
    const added = await call(sandbox, "ADD");
    if (PLACES[place] === true) {
      expect(added.code, added.stdout).toBe(0);
    }
    if (intruder === "a folder" && place.includes("last_reserved_ip")) {
      expect(added.json).toMatchObject({ code: 5, details: `Remove it: rm -r ${place}.` });
    }
    // The runtime deletes what could not be added, and again when the node is well.
    await call(sandbox, "DEL");
    await sandbox.sh("rm -rf $PLACE", { env: { PLACE: place } });
    await sandbox.writeFile("/run/flannel/subnet.env", subnetEnv([IPV4]));
    expect(await call(sandbox, "DEL")).toMatchObject({ code: 0 });
    const left = await sandbox.sh("ls /var/lib/cni/networks/cbr0 2>/dev/null || true");
    expect(left).not.toMatch(/^10\./m);
  });

  test.for(["mkfifo $PLACE", "mkdir $PLACE", ": > $PLACE", "ln -s /dev/zero $PLACE"])(
    "%s for the namespace",
    async (put) => {
      await using sandbox = await node();
      const netns = "/run/netns/odd";
      await sandbox.sh(put, { env: { PLACE: netns } });
      for (const command of ["ADD", "DEL"] as const) {
        const conf = flannelConf();
        const started = performance.now();
        const answer = await cni(sandbox, {
          bin: binDir(),
          plugin: "flannel",
          command,
          conf,
          netns,
        });
        expect(performance.now() - started).toBeLessThan(LIMIT);
        // A namespace was mounted on it, and is gone.
        if (command === "DEL" && put.startsWith(":")) {
          expect(answer, answer.stdout).toMatchObject({ code: 0, stdout: "" });
          continue;
        }
        expectError(answer, 4);
        expect(answer.json?.msg).toContain(netns);
      }
    },
  );
});
