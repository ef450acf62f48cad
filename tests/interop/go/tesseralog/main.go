// Command tesseralog runs a log on Tessera, in files, under a policy of Sameview's witnesses: it adds entries in
// several batches, waits until each is published with the witnesses' cosignatures, and ends.
//
//	tesseralog DIR POLICY SKEY BATCHES
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const perBatch = 150 // so that batches end within tiles and beyond them

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	witnesses := must(tessera.NewWitnessGroupFromPolicy(must(os.ReadFile(os.Args[2]))))
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(must(note.NewSigner(os.Args[3]))).
		WithWitnesses(witnesses, &tessera.WitnessOptions{Timeout: 10 * time.Second}).
		WithBatching(perBatch, 50*time.Millisecond).
		WithCheckpointInterval(100 * time.Millisecond)
	driver := must(posix.New(ctx, posix.Config{Path: os.Args[1]}))
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	must(appender, err)
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	for batch := range must(strconv.Atoi(os.Args[4])) {
		var last tessera.IndexFuture
		for index := range perBatch {
			last = appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "batch %d entry %d", batch, index)))
		}
		_, checkpoint, err := awaiter.Await(ctx, last)
		fmt.Printf("%q\n", must(checkpoint, err))
	}
	must(0, shutdown(ctx))
}
