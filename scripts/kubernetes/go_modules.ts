/**
 * The Go modules that the programs are built in. Neither module can be built as it is: Kubernetes refers
 * to modules beside it in its own repository, and flannel to a cloud's package that modules cannot be had
 * of.
 */

/** The files of a module of our own, by name. */
export type ModuleFiles = Readonly<Record<string, string>>;

/** The same release of the modules that Kubernetes consists of: v1.34.4 is v0.34.4 of them. */
function stagingVersion(version: string): string {
  return version.replace(/^v1\./, "v0.");
}

/**
 * A module that builds Kubernetes. `goMod` is Kubernetes' own go.mod, of whose replacements and settings
 * nothing comes along by itself.
 */
export function kubernetesModule(
  version: string,
  goMod: string,
  packages: readonly string[],
): ModuleFiles {
  const staged = Array.from(
    goMod.matchAll(/^\s*(k8s\.io\/[a-z0-9-]+) => \.\/staging/gm),
    (match) => match[1],
  );
  if (staged.length === 0) throw new Error("Kubernetes' go.mod names no module in ./staging.");
  return {
    "go.mod": [
      "module kubernetes-programs",
      "go 1.26",
      // What Kubernetes was released with.
      "godebug default=go1.24",
      `require k8s.io/kubernetes ${version}`,
      ...staged.map((name) => `replace ${name} => ${name} ${stagingVersion(version)}`),
      "",
    ].join("\n\n"),
    "tools.go": toolsOf(packages),
  };
}

/** A module that builds packages of another one, which can be built as it is. */
export function plainModule(
  module: string,
  version: string,
  packages: readonly string[],
): ModuleFiles {
  return {
    "go.mod": `module programs\n\ngo 1.26\n\nrequire ${module} ${version}\n`,
    "tools.go": toolsOf(packages),
  };
}

/** A module that builds flannel, without the cloud. */
export function flannelModule(version: string, packages: readonly string[]): ModuleFiles {
  const cloud = "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/vpc";
  return {
    "go.mod": [
      "module flannel-programs",
      "go 1.26.0",
      `require github.com/flannel-io/flannel ${version}`,
      `replace ${cloud} => ./cloud`,
      "",
    ].join("\n\n"),
    "tools.go": toolsOf(packages),
    "cloud/go.mod": `module ${cloud}\n\ngo 1.20\n`,
    "cloud/v20170312/vpc.go": cloudStub,
  };
}

/** Makes `go mod tidy` look at commands, which a module does not import otherwise. */
function toolsOf(packages: readonly string[]): string {
  const imports = packages.map((name) => `import _ "${name}"\n`).join("");
  return `//go:build tools\n\npackage tools\n\n${imports}`;
}

/** What flannel's backend for that cloud refers to. No call does anything. */
const cloudStub = `package v20170312

import "errors"

var errNoCloud = errors.New("this build has no cloud")

type (
	Filter struct {
		Name   *string
		Values []*string
	}
	Route struct {
		RouteId *uint64

		DestinationCidrBlock, GatewayType, GatewayId, RouteType *string

		Enabled *bool
	}
	RouteTable struct {
		RouteTableId *string
		RouteSet     []*Route
	}
	RouteTables                struct{ RouteTableSet []*RouteTable }
	DescribeRouteTablesRequest struct{ Filters []*Filter }

	DescribeRouteTablesResponse struct{ Response *RouteTables }

	DeleteRoutesRequest struct {
		RouteTableId *string
		Routes       []*Route
	}
	CreateRoutesRequest struct {
		RouteTableId *string
		Routes       []*Route
	}
	Client struct{}
)

func NewClientWithSecretId(_, _, _ string) (*Client, error) { return nil, errNoCloud }

func NewDescribeRouteTablesRequest() *DescribeRouteTablesRequest {
	return &DescribeRouteTablesRequest{}
}

func NewDeleteRoutesRequest() *DeleteRoutesRequest { return &DeleteRoutesRequest{} }

func NewCreateRoutesRequest() *CreateRoutesRequest { return &CreateRoutesRequest{} }

func (*Client) DescribeRouteTables(*DescribeRouteTablesRequest) (*DescribeRouteTablesResponse, error) {
	return nil, errNoCloud
}

func (*Client) DeleteRoutes(*DeleteRoutesRequest) (int, error) { return 0, errNoCloud }

func (*Client) CreateRoutes(*CreateRoutesRequest) (int, error) { return 0, errNoCloud }
`;
