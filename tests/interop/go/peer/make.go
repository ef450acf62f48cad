package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type storage []tlog.Hash

func (hashes storage) ReadHashes(indexes []int64) (read []tlog.Hash, err error) {
	for _, index := range indexes {
		read = append(read, hashes[index])
	}
	return read, nil
}

const origin = "go.example/log"

func makeLog(args []string) any {
	dir, size, old := args[0], must(strconv.ParseInt(args[1], 10, 64)), must(strconv.ParseInt(args[2], 10, 64))
	var hashes storage
	for index := range size {
		hashes = append(hashes, must(tlog.StoredHashes(index, entryAt(index), hashes))...)
	}
	for _, tile := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		write(dir, torchwood.TilePath(tile), must(tlog.ReadTileData(tile, hashes)))
		if tile.L == 0 {
			var bundle []byte
			for index := range int64(tile.W) {
				bundle = must(torchwood.AppendTileEntry(bundle, entryAt(tile.N*torchwood.TileWidth+index)))
			}
			tile.L = -1
			write(dir, torchwood.TilePath(tile), bundle)
		}
	}
	signers, policy := keys()
	sign := func(size int64) []byte {
		head := torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: must(tlog.TreeHash(size, hashes))}}
		return must(note.Sign(&note.Note{Text: head.String()}, signers...))
	}
	checkpoint := sign(size)
	write(dir, "checkpoint", checkpoint)
	write(dir, "earlier", sign(old))
	write(dir, "policy.txt", []byte(policy))
	for index := range size {
		path := must(tlog.ProveRecord(size, index, hashes))
		raw := torchwood.FormatProof(index, path, checkpoint)
		if index%2 == 1 {
			raw = torchwood.FormatProofWithExtraData(index, []byte("extra"), path, checkpoint)
		}
		write(dir, fmt.Sprintf("proofs/%d.tlog-proof", index), raw)
	}
	return map[string]any{"consistency": must(tlog.ProveTree(size, old, hashes))}
}

func entryAt(index int64) []byte { return fmt.Appendf(nil, "entry %d", index) }

// keys makes a log with one key of each type and a witness with each of the three signers at hand.
func keys() (signers []note.Signer, policy string) {
	skey, vkey := pair(note.GenerateKey(rand.Reader, origin))
	signers = append(signers, must(note.NewSigner(skey)))
	policy = "log " + vkey + "\n"
	skey, vkey = pair(fnote.GenerateMLDSAKey(origin))
	signers = append(signers, must(fnote.NewMLDSASigner(skey)))
	policy += "log " + vkey + "\n"

	torch := must(torchwood.NewCosignatureSigner("go.example/torchwood", ed25519.NewKeyFromSeed(make([]byte, 32))))
	signers = append(signers, torch)
	policy += "witness torchwood " + torch.Verifier().String() + "\n"

	skey, vkey = pair(note.GenerateKey(rand.Reader, "go.example/formats"))
	signers = append(signers, must(fnote.NewSignerForCosignatureV1(skey)))
	policy += "witness formats " + must(fnote.VKeyToCosignatureV1(vkey)) + "\n"

	skey, vkey = pair(fnote.GenerateMLDSAKey("go.example/mldsa"))
	signers = append(signers, must(fnote.NewSignerForCosignatureV1(skey)))
	policy += "witness mldsa " + vkey + "\n"
	return signers, policy + "group every all torchwood formats mldsa\nquorum every\n"
}

func pair(skey, vkey string, err error) (string, string) { return skey, must(vkey, err) }

func write(dir, name string, data []byte) {
	path := filepath.Join(dir, filepath.FromSlash(name))
	check(os.MkdirAll(filepath.Dir(path), 0o755))
	check(os.WriteFile(path, data, 0o644))
}
