// Command agent is an SSH agent with one Ed25519 key, of the seed that is given in hexadecimal: litewitness signs with
// an agent. It ends when its standard input does.
//
//	agent SOCKET SEED
package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/crypto/ssh/agent"
)

func main() {
	seed, err := hex.DecodeString(os.Args[2])
	check(err)
	keys := agent.NewKeyring()
	check(keys.Add(agent.AddedKey{PrivateKey: ed25519.NewKeyFromSeed(seed)}))
	listener, err := net.Listen("unix", os.Args[1])
	check(err)
	go func() {
		for {
			connection, err := listener.Accept()
			check(err)
			go agent.ServeAgent(keys, connection)
		}
	}()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
