/** wireguard with one device for both families passes the suite of all backends, in a virtual machine. */
import { wireguardModeRows } from "../helpers/backends/rows.ts";
import { testBackends, useBackendVm } from "../helpers/backends/vm_suite.ts";

testBackends(wireguardModeRows, useBackendVm());
