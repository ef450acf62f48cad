// Command peer reads what Sameview makes, and makes what Sameview reads, with the libraries that other logs and
// witnesses are built on. Nothing of Sameview is in it.
//
//	peer read URL POLICY EARLIER      verify a log over HTTP, from its signatures to its entries
//	peer prove POLICY ENTRY PROOF     verify a .tlog-proof
//	peer make DIR SIZE EARLIER        make a static log, keys, cosignatures and proofs
//
// It prints one JSON document, and exits with 1 and a sentence when something does not hold.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	merkleproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	commands := map[string]func(args []string) any{"read": read, "prove": prove, "make": makeLog}
	json.NewEncoder(os.Stdout).Encode(commands[os.Args[1]](os.Args[2:]))
}

// must ends the program with a sentence.
func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func check(err error) { must(0, err) }

// Reading.

func read(args []string) any {
	ctx, url := context.Background(), args[0]
	fetcher := must(torchwood.NewTileFetcher(url))
	verifiers := verifiersOf(must(os.ReadFile(args[1])))
	opened := must(note.Open(must(fetcher.ReadEndpoint(ctx, "checkpoint")), note.VerifierList(verifiers...)))
	head := must(torchwood.ParseCheckpoint(opened.Text))
	earlier := must(note.Open(must(os.ReadFile(args[2])), note.VerifierList(verifiers...)))
	old := must(torchwood.ParseCheckpoint(earlier.Text))
	hashes := torchwood.TileHashReaderWithContext(ctx, head.Tree, fetcher)

	// With golang.org/x/mod: from our tiles.
	check(tlog.CheckTree(must(tlog.ProveTree(head.N, old.N, hashes)), head.N, head.Hash, old.N, old.Hash))
	client := must(torchwood.NewClient(fetcher))
	entries := []string{}
	for index, entry := range client.AllEntries(ctx, head.Tree, 0) {
		record := must(tlog.ProveRecord(head.N, index, hashes))
		check(tlog.CheckRecord(record, head.N, head.Hash, index, tlog.RecordHash(entry)))
		entries = append(entries, base64.StdEncoding.EncodeToString(entry))
	}
	check(client.Err())

	// With github.com/transparency-dev/merkle: from the proofs that we serve.
	path := fetchProof(fmt.Sprintf("%s/v1/proofs/consistency?from=%d&to=%d", url, old.N, head.N))
	check(merkleproof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old.N), uint64(head.N), path, old.Hash[:], head.Hash[:]))
	for index, entry := range entries {
		leaf := rfc6962.DefaultHasher.HashLeaf(must(base64.StdEncoding.DecodeString(entry)))
		path := fetchProof(fmt.Sprintf("%s/v1/proofs/inclusion?index=%d&size=%d", url, index, head.N))
		check(merkleproof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(head.N), leaf, path, head.Hash[:]))
	}
	return map[string]any{"origin": head.Origin, "size": head.N, "entries": entries, "signatures": describe(opened.Sigs)}
}

func prove(args []string) any {
	policy, entry, raw := must(os.ReadFile(args[0])), must(os.ReadFile(args[1])), must(os.ReadFile(args[2]))
	check(torchwood.VerifyProof(must(torchwood.ParsePolicy(policy)), tlog.RecordHash(entry), raw))
	var parsed proof.TLogProof
	check(parsed.Unmarshal(raw))
	return map[string]any{"index": parsed.Index, "same": bytes.Equal(parsed.Marshal(), raw)}
}

// verifiersOf makes a verifier for each key of a tlog-policy; formats knows cosignatures, x/mod logs.
func verifiersOf(policy []byte) (verifiers []note.Verifier) {
	for line := range strings.Lines(string(policy)) {
		switch words := strings.Fields(line); {
		case len(words) > 1 && words[0] == "log":
			verifiers = append(verifiers, logVerifier(words[1]))
		case len(words) > 2 && words[0] == "witness":
			verifiers = append(verifiers, must(fnote.NewVerifierForCosignatureV1(words[2])))
		}
	}
	return verifiers
}

func logVerifier(vkey string) note.Verifier {
	if verifier, err := note.NewVerifier(vkey); err == nil {
		return verifier
	}
	return must(fnote.NewMLDSAVerifier(vkey))
}

func describe(signatures []note.Signature) (described []map[string]any) {
	for _, signature := range signatures {
		described = append(described, map[string]any{"name": signature.Name, "id": fmt.Sprintf("%08x", signature.Hash)})
		if time, err := fnote.CoSigV1Timestamp(signature); err == nil {
			described[len(described)-1]["time"] = time.Unix()
		}
	}
	return described
}

func fetchProof(url string) (path [][]byte) {
	answer := must(http.Get(url))
	defer answer.Body.Close()
	var document struct{ Hashes [][]byte }
	check(json.Unmarshal(must(io.ReadAll(answer.Body)), &document))
	return document.Hashes
}
