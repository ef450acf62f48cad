package main

// What the peer does at a monitor: it follows it, shows it forks, and sends it what has to be refused.

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net"
	"time"
)

const digestEvery = 30

// follow learns everything that the monitor holds, checks it, and waits until there is more.
func (p *peer) follow() any {
	theirs := p.catchUp()
	heads := p.fetchHeads()
	p.askInOtherWays(theirs)
	largest := p.held.sorted(0, 1)[0].([]any)
	for _, entry := range p.held.sorted(0, 1) {
		if entry := entry.([]any); entry[1].(uint64) > largest[1].(uint64) {
			largest = entry
		}
	}
	tiles := p.checkTiles(largest)
	grown := p.waitFor(largest)
	return map[string]any{
		"heads": heads, "tiles": tiles, "grown": grown[1], "old": largest[1], "held": len(p.held),
	}
}

// catchUp finds out by BUCKETS and PART what the monitor holds; it returns the monitor's SUMMARY.
func (p *peer) catchUp() []any {
	answer := p.ask("", p.summary(0, 0))
	theirs, offered := answer.one(summary), answer.one(buckets)
	expect(theirs[1] != uint64(0) && theirs[2] == uint64(len(p.logs)), "the SUMMARY is wrong: %v", shown(theirs))
	salt, hashes := offered[2].([]byte), offered[3].([]byte)
	answer = p.ask("", p.held.part(salt, hashes))
	told := answer.one(part)
	expect(told[4] == true && told[1] == offered[1], "the PART is no full answer: %v", shown(told))
	p.held.add(told[3])
	expect(bytes.Equal(p.held.buckets(len(hashes)/4, salt), hashes), "what is in the buckets was not told")
	expect(bytes.Equal(p.held.frontier(), theirs[3].([]byte)), "frontier_hash is another")
	expect(bytes.Equal(p.convicted(), theirs[4].([]byte)), "convicted_hash is another")
	again := p.ask("", p.summary(theirs[1].(uint64), told[1].(uint64)))
	expect(len(again) == 1 && bytes.Equal(again.one(summary)[3].([]byte), theirs[3].([]byte)), "the same is told again")
	return append(theirs, told[1])
}

// askInOtherWays gets at the same set by DIGEST, and at parts of it.
func (p *peer) askInOtherWays(theirs []any) {
	epoch, cursor := theirs[1].(uint64), theirs[8].(uint64)
	everything := held{}
	for round := 0; len(everything) == 0; round++ {
		expect(round < digestEvery, "no SUMMARY of %d is answered with everything", digestEvery)
		for _, told := range p.ask("", p.summaryOf(random(32), p.convicted(), 0, 0))[digest] {
			expect(told[1] == nil && told[2] == cursor && told[4] == false, "this DIGEST does not tell everything")
			everything.add(told[3])
		}
	}
	expect(bytes.Equal(everything.frontier(), p.held.frontier()), "DIGEST and PART tell of different heads")

	last := p.ask("", p.summaryOf(random(32), p.convicted(), epoch, cursor-1)).one(digest)
	expect(last[1] == cursor-1 && last[2] == cursor && len(last[3].([]any)) == 1, "one change: %v", shown(last))
	everything.add(last[3])
	expect(len(everything) == len(p.held), "the last change is of nothing that is held")

	lacking := held{}
	lacking.add(p.held.sorted(0, 1)[1:])
	missing, salt := p.held.sorted(0, 1)[0].([]any), random(8)
	told := p.ask("", []any{uint64(buckets), uint64(0), salt, lacking.buckets(32, salt)}).one(part)
	there := p.held.sorted(bucketOf(missing[0].([]byte), 32), 32)
	expect(told[4] == false && bytes.Equal(pack(told[3]), pack(there)), "PART tells of another bucket: %v", shown(told))
	lacking.add(told[3])
	expect(bytes.Equal(lacking.frontier(), p.held.frontier()), "the missing head was not told")
}

// fetchHeads asks for the head of every log, and compares them with what was listed.
func (p *peer) fetchHeads() int {
	origins := []any{}
	for origin := range p.logs {
		origins = append(origins, []byte(origin))
	}
	heads := p.ask("", []any{uint64(getHeads), origins})[head]
	received := held{}
	for _, message := range heads {
		received.add([]any{p.checkHead(message)})
	}
	expect(bytes.Equal(received.frontier(), p.held.frontier()), "the heads are not those that were listed")
	return len(heads)
}

// checkHead returns the entry of a DIGEST that a HEAD of a branch belongs to.
func (p *peer) checkHead(message []any) []any {
	key, followed := p.logs[string(message[1].([]byte))]
	expect(followed && message[3] == uint64(inFull), "this HEAD is of no branch of a log: %v", shown(message))
	raw := string(message[2].([]byte))
	found := must(openCheckpoint(raw, key))
	lines := must(parseNote(raw))
	last := note{lines.text, lines.lines[len(lines.lines)-1:]}
	expect(last.signedBy(p.observer), "the last line is not the observer's: %s", raw)
	expect(found.origin == key.name, "the HEAD is of another log")
	return []any{message[1], found.size, found.root, uint64(1)}
}

// checkTiles fetches the leaves of a tree, and hashes them up to the root that the log signed.
func (p *peer) checkTiles(entry []any) int {
	size := entry[1].(uint64)
	var leaves [][]byte
	for index := uint64(0); uint64(len(leaves)) < size; index++ {
		width := size - uint64(len(leaves))
		if width > 256 {
			width = 256
		}
		leaves = append(leaves, p.fetchTile(entry[0], 0, index, width)...)
	}
	expect(bytes.Equal(rootOf(leaves), entry[2].([]byte)), "the tiles are not those of the signed root")
	above := p.fetchTile(entry[0], 1, 0, 1)
	expect(bytes.Equal(above[0], rootOf(leaves[:256])), "the node above a full tile is another")
	return len(leaves)
}

func (p *peer) fetchTile(origin any, level, index, width uint64) (hashes [][]byte) {
	found := p.await(tile, []any{uint64(getTile), origin, level, index, width})
	expect(bytes.Equal(pack(found[1:4]), pack([]any{origin, level, index})), "another tile: %v", shown(found))
	for data := found[4].([]byte); len(data) > 0; data = data[32:] {
		hashes = append(hashes, data[:32])
	}
	expect(uint64(len(hashes)) == width, "a tile of %d hashes in place of %d", len(hashes), width)
	return hashes
}

// waitFor keeps a request open until a log has grown, and asks for the proof that it only grew.
func (p *peer) waitFor(before []any) []any {
	for len(p.ask("")) > 0 { // until nothing is left to be said
	}
	fmt.Println("waiting")
	pushed := p.ask("?wait=25").one(head)
	after := p.checkHead(pushed)
	m, n := before[1].(uint64), after[1].(uint64)
	expect(bytes.Equal(pushed[1].([]byte), before[0].([]byte)) && m < n, "this log did not grow: %v", shown(pushed))
	proven := p.await(consistency, []any{uint64(getConsistency), before[0], m, n})
	asked := []any{before[0], m, n, before[2], after[2]}
	expect(bytes.Equal(pack(proven[1:6]), pack(asked)), "another proof: %v", shown(proven))
	var path [][]byte
	for _, node := range proven[6].([]any) {
		path = append(path, node.([]byte))
	}
	from, to, ok := fold(m, n, before[2].([]byte), path)
	expect(ok && bytes.Equal(pack([]any{from, to}), pack(asked[3:])), "the proof proves nothing")
	return after
}

// accuse shows the monitor heads of forks, answers what it asks, and waits until it sends evidence of each. Where the
// monitor can dial this peer, it is not pushed anything: it learns of them by anti-entropy.
func (p *peer) accuse(forks []fork, listen string) any {
	messages := []any{}
	for _, one := range forks {
		own := ownHead{note: one.Note}
		for _, entry := range one.Entries {
			own.leaves = append(own.leaves, leafHash([]byte(entry)))
		}
		message := own.message()
		p.forks[string(message[1].([]byte))] = own
		size, root := uint64(len(own.leaves)), rootOf(own.leaves)
		p.held.add([]any{[]any{message[1], size, root, uint64(inFull)}})
		messages = append(messages, message)
	}
	deadline := time.Now().Add(30 * time.Second)
	if listen != "" { // the monitor comes here, and finds out for itself
		go p.serve(must(net.Listen("tcp", listen)))
		for !p.heardOfAll(len(forks), []any{uint64(epoch), uint64(cursor)}) {
			expect(time.Now().Before(deadline), "the monitor did not take all of it, or proved nothing")
			time.Sleep(20 * time.Millisecond)
		}
	}
	for listen == "" && !p.heardOfAll(len(forks), nil) {
		expect(time.Now().Before(deadline), "no evidence comes")
		messages = p.replyTo(p.ask("?wait=5", messages...))
	}
	return p.verdicts()
}

// heardOfAll says whether evidence of all forks has come, and the monitor has seen what this peer holds.
func (p *peer) heardOfAll(count int, seen []any) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	return len(p.proven) == count && (seen == nil || bytes.Equal(pack(p.seen), pack(seen)))
}

func (p *peer) replyTo(found answer) []any {
	p.lock.Lock()
	defer p.lock.Unlock()
	all := []any{}
	for _, messages := range found {
		for _, message := range messages {
			if message[0] != uint64(summary) { // an answer to ours
				all = append(all, message)
			}
		}
	}
	return p.reply(all, "in an answer")
}

// verdicts compares the verdicts of both, and fetches the monitor's evidence again by its names.
func (p *peer) verdicts() any {
	expect(bytes.Equal(p.ask("", p.summary(0, 0)).one(summary)[4].([]byte), p.convicted()), "convicted_hash is another")
	none := digestOf(pack([]any{}))
	found := answer{}
	for round := 0; len(found[haveEvidence]) == 0; round++ {
		expect(round < 2, "two SUMMARYs with other verdicts are answered without HAVE_EVIDENCE")
		found = p.ask("", p.summaryOf(p.held.frontier(), none, 0, 0))
	}
	ids := []any{}
	types := map[string]uint64{}
	for _, one := range found.one(haveEvidence)[1].([]any) {
		piece := one.([]any)
		mine, ok := p.proven[string(piece[3].([]byte))]
		same := bytes.Equal(pack(piece[:3]), pack([]any{mine.class, mine.origin, mine.accused}))
		expect(ok && same, "HAVE_EVIDENCE names what was not sent: %v", shown(piece))
		ids = append(ids, piece[3])
		types[hex.EncodeToString(piece[3].([]byte))] = mine.class
	}
	again := p.ask("", []any{uint64(getEvidence), ids})
	p.replyTo(again)
	expect(len(again[evidence]) == len(ids), "not all evidence that was asked for came")
	return map[string]any{"classes": types, "answered": p.answered}
}

// refused sends what the monitor has to refuse, and returns the statuses of its answers.
func (p *peer) refused() any {
	fields := func(change func([]any)) []byte {
		changed := p.fields(nil, []any{})
		change(changed)
		return seal(p.key, changed)
	}
	ago := func(milliseconds int64) []byte {
		return fields(func(f []any) { f[3] = uint64(time.Now().UnixMilli() + milliseconds) })
	}
	once := fields(func([]any) {})
	flipped := fields(func([]any) {})
	flipped[len(flipped)-1] ^= 1
	_, other, _ := ed25519.GenerateKey(nil)
	// An array of no messages in three bytes, where one is enough, signed as such.
	long := pack(p.fields(nil, []any{}))
	long = append(long[:len(long)-1], 0xdc, 0, 0)
	signed := append(append([]byte{0x98}, long[1:]...), 0xc4, 64)
	signed = append(signed, ed25519.Sign(p.key, append([]byte(context), long...))...)
	statuses := map[string]int{}
	for _, one := range []struct {
		name string
		raw  []byte
	}{
		{"good", once},
		{"sent twice", once},
		{"for another", fields(func(f []any) { f[2] = random(32) })},
		{"too old", ago(-maxSkew - 5000)},
		{"too early", ago(maxSkew + 5000)},
		{"an answer", fields(func(f []any) { f[5] = random(16) })},
		{"another version", fields(func(f []any) { f[0] = uint64(2) })},
		{"a signature changed", flipped},
		{"another key's", seal(other, p.fields(nil, []any{}))},
		{"a stranger's", fields(func(f []any) { f[1] = random(32) })},
		{"not canonical", signed},
		{"a message of another shape", fields(func(f []any) { f[6] = []any{[]any{uint64(getHeads)}} })},
		{"malformed evidence", fields(func(f []any) { f[6] = []any{[]any{uint64(evidence), uint64(2), []byte("tlog")}} })},
		{"unknown evidence", fields(func(f []any) { f[6] = []any{[]any{uint64(evidence), uint64(99), []byte("tlog")}} })},
		{"an unknown message", fields(func(f []any) { f[6] = []any{[]any{uint64(99), int64(-1), "later"}} })},
		{"too long", make([]byte, maxEnvelope+1)},
		{"good again", fields(func([]any) {})},
	} {
		statuses[one.name], _ = p.post(one.raw, "")
	}
	return statuses
}
