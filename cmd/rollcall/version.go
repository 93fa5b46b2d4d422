package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type driverVersion struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Client  string `json:"client"`
	Version string `json:"version"`
}

type versionSummary struct {
	Type    string          `json:"type"`
	Verb    string          `json:"verb"`
	Version string          `json:"version"`
	Commit  string          `json:"commit"`
	Go      string          `json:"go"`
	Drivers []driverVersion `json:"drivers"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "version, commit, drivers and their client versions",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := versionOf(debug.ReadBuildInfo())
			if a.json {
				return a.object(v)
			}
			a.say("rollcall %s, commit %s, %s", v.Version, v.Commit, v.Go)
			for _, d := range v.Drivers {
				a.say("%s %s: %s %s", d.Kind, d.Name, d.Client, d.Version)
			}
			return nil
		},
	}
}

// versionOf reads what the linker wrote into the program.
func versionOf(info *debug.BuildInfo, ok bool) versionSummary {
	v := versionSummary{Type: "summary", Verb: "version", Version: "unknown", Commit: "unknown", Go: runtime.Version()}
	clients := make(map[string]string)
	if ok {
		v.Version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
		for _, d := range info.Deps {
			clients[d.Path] = d.Version
		}
	}
	for _, d := range drivers {
		version := clients[d.Client]
		if version == "" {
			version = "unknown"
		}
		v.Drivers = append(v.Drivers, driverVersion{d.Kind, d.Name, d.Client, version})
	}
	return v
}
