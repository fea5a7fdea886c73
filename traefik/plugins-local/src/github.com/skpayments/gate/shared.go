package gate

import (
	"context"
	"log"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Instants are durations since the epoch, by the wall clock: the monotonic one stands still while the machine sleeps.
var origin = time.Unix(0, 0)

const (
	deadline = time.Second
	// A gate that was heard of more recently is no dead gate, whatever became of one question.
	silence    = 1200 * time.Millisecond
	lastSecond = 8600000000
	// For how long nobody must use a gate before its stream is let go: a reload replaces the instances one by one.
	linger = 2 * time.Second
)

// What all instances for one gate share: Traefik makes an instance for each router, and all anew for each reload.
type shared struct {
	address   string
	secret    string
	transport *http.Transport

	mu sync.RWMutex
	// Kept answers: see table.go.
	young      half
	old        half
	turnedAt   time.Duration
	maxEntries int
	staleFor   time.Duration
	apps       map[string]*app
	ignored    map[string]*ignored
	// What the stream said: see stream.go.
	epoch      string
	number     int64
	version    string
	rules      map[string]rules
	generation int64
	liveUntil  time.Duration
	heardAt    time.Duration
	// When the gate was last known to work, and whether asking it has failed since.
	aliveAt time.Duration
	down    bool
	probing bool

	instances   int
	unusedSince time.Duration
}

var (
	gates   = map[string]*shared{}
	gatesMu sync.Mutex
)

func now() time.Duration {
	return time.Since(origin)
}

// at is the instant of an epoch second; none is later than the year 2242.
func at(epochSeconds int64) time.Duration {
	if epochSeconds > lastSecond {
		epochSeconds = lastSecond
	}
	return time.Duration(epochSeconds) * time.Second
}

// join gives the shared state of a gate until ctx is over. The first to join begins to follow the gate's stream.
func join(ctx context.Context, c *Config) *shared {
	gatesMu.Lock()
	defer gatesMu.Unlock()
	// A secret that was rolled is another gate: with a wrong one nothing that a right one has learnt is to be had.
	name := c.Address + "\x00" + c.Secret
	s := gates[name]
	if s == nil {
		s = &shared{address: c.Address, secret: c.Secret, transport: newTransport()}
		s.apps = map[string]*app{}
		s.ignored = map[string]*ignored{}
		forgetAll(s)
		gates[name] = s
		go follow(s)
	}
	s.mu.Lock()
	s.maxEntries = c.MaxEntries
	s.staleFor = time.Duration(c.StaleFor) * time.Second
	s.mu.Unlock()
	s.instances++
	go leave(ctx, s)
	return s
}

func leave(ctx context.Context, s *shared) {
	<-ctx.Done()
	gatesMu.Lock()
	defer gatesMu.Unlock()
	s.instances--
}

// inUse says whether anybody has needed this gate lately; if not, it is forgotten.
func inUse(s *shared) bool {
	gatesMu.Lock()
	defer gatesMu.Unlock()
	if s.instances > 0 {
		s.unusedSince = 0
		return true
	}
	if s.unusedSince == 0 {
		s.unusedSince = now()
	}
	if now()-s.unusedSince < linger {
		return true
	}
	delete(gates, s.address+"\x00"+s.secret)
	s.transport.CloseIdleConnections()
	return false
}

// newTransport: by default Go keeps two idle connections to a host, and under load opens a new one for most requests.
// Without Proxy, an HTTP_PROXY in Traefik's environment has no say.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: deadline}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSHandshakeTimeout: deadline,
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true,
	}
}

// appOf gives what is known about an app of this gate.
func appOf(s *shared, id string) *app {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.apps[id]
	if known == nil {
		known = &app{id: id}
		s.apps[id] = known
		setRules(known, s.rules)
	}
	return known
}

// ignoredFor gives the headers to ignore where these identify somebody and those are taken.
func ignoredFor(s *shared, headers []string, taken string, also *regexp.Regexp) *ignored {
	s.mu.Lock()
	defer s.mu.Unlock()
	// What one app takes from its visitors, another may let through and learn.
	name := strings.Join(headers, ",") + "\x00" + taken
	known := s.ignored[name]
	if known == nil {
		known = newIgnored(headers, also)
		s.ignored[name] = known
	}
	return known
}

// asked notes what became of a question. While nothing has been heard of the gate either, it is down: then one question
// is asked at a time, since the rest would only wait.
func asked(s *shared, failed bool) {
	if !failed {
		alive(s)
		return
	}
	if !s.down && now()-s.heardAt > silence {
		s.down = true
		log.Printf("the gate at %s does not answer: answers that it gave before hold for a while, others are refused", s.address)
	}
}

func alive(s *shared) {
	s.aliveAt = now()
	if s.down {
		s.down = false
		log.Printf("the gate at %s answers again", s.address)
	}
}
