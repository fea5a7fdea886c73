package gate

import (
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Two gates that follow one database, and one plugin, in any order of events. The law: a fresh answer is one that the
// gate of the stream gives itself as of the change it announced last, or one of a later change that it will announce.
// What only one process knows is announced by its own stream, and an answer of the other is fresh for 30 s at most.

var lawUsers = []string{"alice", "bob", "carol"}

type lawChange struct{ user, tier string }

// The database: the changes of each epoch, in order. A restored backup is a new epoch.
type lawWorld struct {
	t       *testing.T
	seed    int64
	rng     *rand.Rand
	epoch   string
	logs    map[string][]lawChange
	file    int
	gates   [2]*lawGate
	names   int
	m       *Middleware
	stream  *lawGate
	queue   []string
	begun   bool
	flights []lawFlight
	// How often an answer was fresh, and how often it was the other gate's.
	fresh, foreign int
}

type lawGate struct {
	process, epoch, version string
	number, own             int
	tiers                   map[string]string
	// The users whose sessions do not verify here, and at which own change that began.
	ended map[string]bool
	since map[string]int
}

// An answer on its way; header nil: a refusal.
type lawFlight struct {
	user   string
	seen   look
	header http.Header
}

func (w *lawWorld) name(kind string) string {
	w.names++
	return fmt.Sprint(kind, w.names)
}

func (w *lawWorld) tiersAt(epoch string, number int) map[string]string {
	found := map[string]string{}
	for _, user := range lawUsers {
		found[user] = "free"
	}
	for _, change := range w.logs[epoch][:number] {
		found[change.user] = change.tier
	}
	return found
}

func (w *lawWorld) end() int { return len(w.logs[w.epoch]) }

func (w *lawWorld) start(i int) {
	w.cut(w.gates[i])
	// From a snapshot it is as of an earlier change.
	number := w.rng.Intn(w.end() + 1)
	w.gates[i] = &lawGate{
		process: w.name("p"), epoch: w.epoch, version: fmt.Sprint("v", w.file), number: number,
		tiers: w.tiersAt(w.epoch, number), ended: map[string]bool{}, since: map[string]int{},
	}
}

// send puts a line on the stream of a gate.
func (w *lawWorld) send(g *lawGate, text string) {
	if w.stream == g {
		w.queue = append(w.queue, fmt.Sprintf(`{"n":%d,"own":%d%s}`, g.number, g.own, text))
	}
}

func (w *lawWorld) sendAll(g *lawGate) {
	g.own++
	w.send(g, fmt.Sprintf(`,"all":true,"rules":{"blog":{"routes":[]}},"version":"%s"`, g.version))
}

// cut ends the stream, once what was sent has been delivered.
func (w *lawWorld) cut(g *lawGate) {
	if g != nil && w.stream == g {
		w.queue = append(w.queue, "")
		w.stream = nil
	}
}

func (w *lawWorld) connect(g *lawGate) {
	lost(w.m.shared)
	w.stream, w.begun = g, false
	w.queue = []string{fmt.Sprintf(
		`{"process":"%s","epoch":"%s","n":%d,"own":%d,"rules":{"blog":{"routes":[]}},"version":"%s"}`,
		g.process, g.epoch, g.number, g.own, g.version,
	)}
}

func (w *lawWorld) deliver() {
	if len(w.queue) == 0 {
		return
	}
	text := w.queue[0]
	w.queue = w.queue[1:]
	if text == "" {
		lost(w.m.shared)
		return
	}
	if !hear(w.m.shared, []byte(text), w.begun) {
		w.t.Fatal("not understood: ", text)
	}
	w.begun = true
}

// follow applies some changes of the log at a gate, or loads everything.
func (w *lawWorld) follow(g *lawGate, all bool) {
	switch {
	case g.epoch != w.epoch:
		g.epoch, g.number, g.tiers = w.epoch, w.end(), w.tiersAt(w.epoch, w.end())
		w.cut(g)
	case all:
		g.number, g.tiers = w.end(), w.tiersAt(w.epoch, w.end())
		w.sendAll(g)
	default:
		to := g.number + w.rng.Intn(w.end()-g.number+1)
		// The values are those of the moment of reading, which may be later than the changes that were read.
		now := w.tiersAt(w.epoch, w.end())
		changes := w.logs[w.epoch][g.number:to]
		for _, change := range changes {
			g.tiers[change.user] = now[change.user]
		}
		for _, change := range changes {
			g.number++
			w.send(g, fmt.Sprintf(`,"app":"blog","user":"%s"`, change.user))
		}
	}
}

func (w *lawWorld) ask(g *lawGate, user string) {
	seen := lookAt(w.m, user)
	if seen.fresh {
		return
	}
	flight := lawFlight{user: user, seen: seen}
	if !g.ended[user] {
		soon := time.Now().Add(time.Minute).Unix()
		flight.header = http.Header{
			"X-Sk-User": {user},
			"X-Sk-Tier": {strings.Join([]string{g.tiers[user], g.version, g.process, fmt.Sprint(g.own)}, " ")},
			"X-Sk-Keep": {fmt.Sprintf("%s %d %s %d %s %d 0", g.epoch, g.number, g.process, g.own, g.version, soon)},
		}
	}
	w.flights = append(w.flights, flight)
}

func (w *lawWorld) land() {
	if len(w.flights) == 0 {
		return
	}
	i := w.rng.Intn(len(w.flights))
	flight := w.flights[i]
	w.flights = append(w.flights[:i:i], w.flights[i+1:]...)
	if flight.header == nil {
		forgetAnswer(w.m.shared, flight.seen)
	} else {
		keep(w.m, flight.seen, flight.header)
	}
}

func (w *lawWorld) step() {
	g := w.gates[w.rng.Intn(2)]
	user := lawUsers[w.rng.Intn(len(lawUsers))]
	switch n := w.rng.Intn(100); {
	case n < 30:
		w.ask(g, user)
	case n < 52:
		w.land()
	case n < 70:
		w.deliver()
	case n < 78:
		w.logs[w.epoch] = append(w.logs[w.epoch], lawChange{user, fmt.Sprint("tier", w.rng.Intn(3))})
	case n < 88:
		w.follow(g, false)
	case n < 90:
		w.follow(g, true)
	case n < 92:
		w.send(g, "")
	case n < 94:
		w.connect(g)
	case n < 96:
		g.ended[user] = !g.ended[user]
		if g.ended[user] {
			g.own++
			g.since[user] = g.own
			w.send(g, fmt.Sprintf(`,"app":"blog","user":"%s"`, user))
		}
	case n < 97:
		w.file++
	case n < 98:
		// A reload: between the two, the tiers of its apps are loaded.
		g.version = w.name("loading")
		w.sendAll(g)
		g.version = fmt.Sprint("v", w.file)
		w.sendAll(g)
	case n < 99:
		w.start(w.rng.Intn(2))
	default:
		kept := w.logs[w.epoch][:w.rng.Intn(w.end()+1)]
		w.epoch = w.name("e")
		w.logs[w.epoch] = append([]lawChange{}, kept...)
	}
}

// check compares every fresh answer with the law. When all is settled, only the newest tier is right.
func (w *lawWorld) check(settled bool) {
	s := w.m.shared
	for _, user := range lawUsers {
		seen := lookAt(w.m, user)
		if !seen.fresh {
			continue
		}
		kept := seen.kept
		said := strings.Split(tagOf(kept), " ")
		tier, version, process, own := said[0], said[1], said[2], number(said[3])
		w.fresh++
		right := map[string]bool{}
		for n := int(s.number); n <= len(w.logs[s.epoch]); n++ {
			right[w.tiersAt(s.epoch, n)[user]] = true
		}
		if kept.number > s.number {
			w.t.Fatalf("seed %d: %s: of %d, but the stream is at %d", w.seed, user, kept.number, s.number)
		}
		if kept.epoch != s.epoch || !right[tier] || version != s.version {
			w.t.Fatalf("seed %d: %s: %v; stream: %s %d %s", w.seed, user, said, s.epoch, s.number, s.version)
		}
		if settled && (s.epoch != w.epoch || tier != w.tiersAt(w.epoch, w.end())[user]) {
			w.t.Fatalf("seed %d: %s: %v, now %v", w.seed, user, said, w.tiersAt(w.epoch, w.end()))
		}
		if process != s.process {
			w.foreign++
			if kept.freshUntil > kept.keptAt+30*time.Second {
				w.t.Fatalf("seed %d: %s: of another gate, and fresh for %v", w.seed, user, kept.freshUntil-kept.keptAt)
			}
			continue
		}
		for _, g := range w.gates {
			since := int64(g.since[user])
			if g.process == process && own < since && since <= s.own {
				w.t.Fatalf("seed %d: %s: %v, but the session ended at %d of %d", w.seed, user, said, since, s.own)
			}
		}
	}
}

func (w *lawWorld) settle() {
	for i, g := range w.gates {
		if g.version != fmt.Sprint("v", w.file) {
			g.version = fmt.Sprint("v", w.file)
			w.sendAll(g)
		}
		for g.epoch != w.epoch || g.number < w.end() {
			w.follow(w.gates[i], false)
		}
	}
	if w.stream == nil {
		w.connect(w.gates[w.rng.Intn(2)])
	}
	for len(w.queue) > 0 {
		w.deliver()
	}
	for _, user := range lawUsers {
		w.ask(w.gates[w.rng.Intn(2)], user)
	}
	for len(w.flights) > 0 {
		w.land()
	}
}

func tagOf(kept *answer) string {
	for i, name := range kept.names {
		if name == "X-Sk-Tier" {
			return kept.values[i][0]
		}
	}
	return ""
}

func TestAFreshAnswerIsOneThatTheGateOfTheStreamWouldGive(t *testing.T) {
	before := log.Writer()
	log.SetOutput(io.Discard)
	defer log.SetOutput(before)
	fresh, foreign, settled := 0, 0, 0
	for seed := int64(0); seed < 1500; seed++ {
		s := emptyShared(1000)
		w := &lawWorld{t: t, seed: seed, rng: rand.New(rand.NewSource(seed)), epoch: "e0", logs: map[string][]lawChange{}}
		w.m = &Middleware{shared: s, staleFor: time.Minute}
		w.m.app = appOf(s, "blog")
		w.start(0)
		w.start(1)
		w.connect(w.gates[0])
		for i := 0; i < 300; i++ {
			w.step()
			w.check(false)
		}
		fresh, foreign = fresh+w.fresh, foreign+w.foreign
		w.fresh = 0
		w.settle()
		w.check(true)
		settled += w.fresh
	}
	if fresh < 10000 || foreign < 2000 || settled < 500 {
		t.Error("too few answers were fresh: ", fresh, foreign, settled)
	}
}
