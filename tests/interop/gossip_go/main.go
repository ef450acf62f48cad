// A gossip peer, written from specs/gossip.md, specs/evidence.md and the documents of C2SP alone.
//
//	gossip vectors FILE     judges vectors
//	gossip follow CONFIG    learns what a monitor holds, and checks it
//	gossip accuse CONFIG    shows a monitor forks, and checks the evidence that comes of them
//	gossip refused CONFIG   sends what has to be refused
//
// It prints one JSON document.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	defer func() {
		if wrong := recover(); wrong != nil {
			fmt.Fprintln(os.Stderr, wrong)
			os.Exit(1)
		}
	}()
	expect(len(os.Args) == 3, "usage: gossip vectors|follow|accuse|refused FILE")
	raw := must(os.ReadFile(os.Args[2]))
	expect(json.NewEncoder(os.Stdout).Encode(run(os.Args[1], raw)) == nil, "standard output cannot be written")
}

func run(what string, raw []byte) any {
	if what == "vectors" {
		return readVectors(raw)
	}
	var c config
	expect(json.Unmarshal(raw, &c) == nil, "the configuration is no JSON")
	p := newPeer(c)
	switch what {
	case "follow":
		return p.follow()
	case "accuse":
		return p.accuse(c.Forks, c.Listen)
	}
	return p.refused()
}
