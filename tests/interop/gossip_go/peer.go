package main

// A peer: it asks a monitor over HTTP, answers what the monitor asks, and checks everything that it is told. Whatever
// is not as gossip.md says ends the program with a sentence.

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"sync"
	"time"
)

const (
	exchangePath = "/gossip/v1/exchange"
	mediaType    = "application/vnd.sameview.gossip"
	inFull       = 1 // a branch: every entry was hashed

	epoch  = 1763935200 // what this peer holds does not change,
	cursor = 1          // but for once
)

// config is what a monitor's operator and this peer's have told each other.
type config struct {
	URL, Listen       string // where the monitor is, and where it dials this peer, if it can
	Seed, Vkey        string // of the peer key
	Monitor, Observer string // vkeys of the monitor
	Logs              []string
	Forks             []fork
}

// fork is a head that a log signed and shows to this peer only, with the tree below it.
type fork struct {
	Note    string
	Entries []string
}

type peer struct {
	url, vkey string
	key       ed25519.PrivateKey
	client    http.Client
	monitor   vkey
	observer  vkey            // of the monitor: it signs heads last
	logs      map[string]vkey // by the H of their origins

	lock     sync.Mutex // of what follows: a monitor may dial while it is asked
	opener   opener
	held     held
	forks    map[string]ownHead
	seen     []any             // epoch and cursor of this peer, as the monitor's last SUMMARY names them
	answered map[string]int    // its questions, by how it asked
	proven   map[string]proven // evidence, by id
}

type ownHead struct {
	note   string
	leaves [][]byte
}

type proven struct {
	class           uint64
	origin, accused []byte
	bundle          []byte
}

func expect(ok bool, what string, about ...any) {
	if !ok {
		panic(fmt.Errorf(what, about...))
	}
}

func must[T any](value T, err error) T {
	expect(err == nil, "%w", err)
	return value
}

func newPeer(c config) *peer {
	p := &peer{
		url: c.URL, vkey: c.Vkey, key: ed25519.NewKeyFromSeed(must(hex.DecodeString(c.Seed))),
		client: http.Client{Timeout: 40 * time.Second}, logs: map[string]vkey{},
		monitor: must(parseVkey(c.Monitor)), observer: must(parseVkey(c.Observer)),
		held: held{}, forks: map[string]ownHead{}, answered: map[string]int{}, proven: map[string]proven{},
	}
	p.opener = opener{peerID(c.Vkey), map[string]vkey{string(peerID(c.Monitor)): p.monitor}, map[string]bool{}}
	for _, text := range c.Logs {
		key := must(parseVkey(text))
		p.logs[string(digestOf([]byte(key.name)))] = key
	}
	return p
}

// fields are the first seven of an envelope to the monitor.
func (p *peer) fields(replyTo []byte, messages []any) []any {
	var answered any
	if replyTo != nil {
		answered = replyTo
	}
	now := uint64(time.Now().UnixMilli())
	return []any{uint64(1), p.opener.me, peerID(p.monitor.text), now, random(16), answered, messages}
}

func (p *peer) post(raw []byte, query string) (int, []byte) {
	answer := must(p.client.Post(p.url+exchangePath+query, mediaType, bytes.NewReader(raw)))
	defer answer.Body.Close()
	return answer.StatusCode, must(io.ReadAll(io.LimitReader(answer.Body, maxEnvelope+1)))
}

// answer is what came, by type.
type answer map[uint64][][]any

func (a answer) one(kind uint64) []any {
	expect(len(a[kind]) == 1, "one message of type %d was expected in %v", kind, map[uint64][][]any(a))
	return a[kind][0]
}

// await asks for something, and keeps a request open until it comes: an answer need not bring what was asked for.
func (p *peer) await(kind uint64, messages ...any) []any {
	found := p.ask("?wait=5", messages...)
	for round := 0; len(found[kind]) == 0; round++ {
		expect(round < 5, "no message of type %d comes", kind)
		found = p.ask("?wait=5")
	}
	return found.one(kind)
}

// ask sends messages; with a query of ?wait=S it lets the monitor hold its answer back.
func (p *peer) ask(query string, messages ...any) answer {
	fields := p.fields(nil, append([]any{}, messages...))
	status, raw := p.post(seal(p.key, fields), query)
	expect(status == http.StatusOK, "the monitor answers %d: %s", status, raw)
	p.lock.Lock()
	defer p.lock.Unlock()
	taken := must(p.opener.open(raw, fields[4].([]byte), uint64(time.Now().UnixMilli())))
	found := answer{}
	for _, one := range taken[6].([]any) {
		message := one.([]any)
		kind, _ := message[0].(uint64)
		found[kind] = append(found[kind], message)
	}
	return found
}

// serve answers the monitor's own requests.
func (p *peer) serve(listener net.Listener) {
	http.Serve(listener, http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		raw, _ := io.ReadAll(io.LimitReader(request.Body, maxEnvelope+1))
		p.lock.Lock()
		defer p.lock.Unlock()
		fields, err := p.opener.open(raw, nil, uint64(time.Now().UnixMilli()))
		if err != nil {
			http.Error(to, err.Error(), http.StatusBadRequest)
			return
		}
		replies := p.reply(fields[6].([]any), "in a request")
		to.Header().Set("Content-Type", mediaType)
		to.Write(seal(p.key, p.fields(fields[4].([]byte), replies)))
	}))
}

// reply answers questions and takes evidence, section 5 and 6.
func (p *peer) reply(messages []any, how string) []any {
	replies := []any{}
	for _, one := range messages {
		message := one.([]any)
		switch kind, _ := message[0].(uint64); kind {
		case summary: // in a request: p.replyTo leaves out those in answers
			p.seen = message[6:8]
			all := []any{uint64(digest), nil, uint64(cursor), p.held.sorted(0, 1), false}
			replies = append(replies, p.summary(0, 0), all)
		case buckets:
			replies = append(replies, p.held.part(message[2].([]byte), message[3].([]byte)))
		case getHeads:
			for _, origin := range message[1].([]any) {
				if own, ok := p.forks[string(origin.([]byte))]; ok {
					replies = append(replies, own.message())
				}
			}
		case getConsistency:
			own, ok := p.forks[string(message[1].([]byte))]
			m, n := message[2].(uint64), message[3].(uint64)
			if ok && 0 < m && m < n && n <= uint64(len(own.leaves)) {
				p.answered[how]++
				replies = append(replies, own.consistency(m, n))
			}
		case haveEvidence:
			for _, piece := range message[1].([]any) {
				if id := piece.([]any)[3]; p.proven[string(id.([]byte))].bundle == nil {
					replies = append(replies, []any{uint64(getEvidence), []any{id}})
				}
			}
		case evidence:
			p.take(message)
		}
	}
	return replies
}

func (own ownHead) message() []any {
	origin, _, _ := bytes.Cut([]byte(own.note), []byte("\n"))
	return []any{uint64(head), digestOf(origin), []byte(own.note), uint64(inFull), nil, []any{}}
}

func (own ownHead) consistency(m, n uint64) []any {
	origin := own.message()[1]
	path := []any{}
	for _, node := range prove(int(m), own.leaves[:n], true) {
		path = append(path, node)
	}
	return []any{uint64(consistency), origin, m, n, rootOf(own.leaves[:m]), rootOf(own.leaves[:n]), path}
}

// take verifies evidence under the keys of this peer's own configuration.
func (p *peer) take(message []any) {
	bundle := message[2].([]byte)
	for origin, key := range p.logs {
		if id, err := verifyEvidence(string(bundle), key); err == nil {
			p.proven[string(id)] = proven{message[1].(uint64), []byte(origin), digestOf([]byte(key.text)), bundle}
			return
		}
	}
	expect(false, "this evidence proves nothing: %s", bundle)
}

func (p *peer) summary(seenEpoch, seenCursor uint64) []any {
	return p.summaryOf(p.held.frontier(), p.convicted(), seenEpoch, seenCursor)
}

func (p *peer) summaryOf(frontier, convicted []byte, seenEpoch, seenCursor uint64) []any {
	count := uint64(len(p.logs))
	return []any{uint64(summary), uint64(epoch), count, frontier, convicted, uint64(0), seenEpoch, seenCursor}
}

// convicted hashes the verdicts.
func (p *peer) convicted() []byte {
	verdicts := map[string]any{}
	var spelled []string
	for _, one := range p.proven {
		verdict := []any{one.class, one.origin, one.accused}
		if key := string(pack(verdict)); verdicts[key] == nil {
			verdicts[key] = verdict
			spelled = append(spelled, key) // classes are below 128: as spelled they sort as the numbers do
		}
	}
	sort.Strings(spelled)
	all := []any{}
	for _, key := range spelled {
		all = append(all, verdicts[key])
	}
	return digestOf(pack(all))
}
