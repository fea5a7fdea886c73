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

// Instants are durations since the epoch, by the wall clock: the monotonic one stops while the machine sleeps.
var origin = time.Unix(0, 0)

const (
	deadline = time.Second
	// A gate with a sign of life within this time is not down, even if one call failed.
	silence    = 1200 * time.Millisecond
	lastSecond = 8600000000
	// How long a gate must be unused before its stream is closed: a reload replaces the instances one by one.
	linger = 2 * time.Second
)

// The state that all instances for one gate share: Traefik makes an instance per router, and new ones at each reload.
type shared struct {
	addresses []string
	secret    string
	transport *http.Transport

	mu sync.RWMutex
	// Cached answers: see table.go.
	young      half
	old        half
	turnedAt   time.Duration
	maxEntries int
	staleFor   time.Duration
	apps       map[string]*app
	ignored    map[string]*ignored
	// The index of the address that is called first.
	current int
	// The state of the stream: see stream.go.
	epoch      string
	process    string
	number     int64
	own        int64
	recent     changes
	version    string
	rules      map[string]rules
	generation int64
	liveUntil  time.Duration
	heardAt    time.Duration
	// When the gate last worked, and whether a call has failed since.
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

// at returns the instant of an epoch second, at most the year 2242.
func at(epochSeconds int64) time.Duration {
	if epochSeconds > lastSecond {
		epochSeconds = lastSecond
	}
	return time.Duration(epochSeconds) * time.Second
}

// join returns the shared state of a gate until ctx ends. The first call starts to follow the gate's stream.
func join(ctx context.Context, c *Config) *shared {
	gatesMu.Lock()
	defer gatesMu.Unlock()
	// Another secret is another gate: an instance with a wrong one must not use answers cached with the right one.
	name := nameOf(c.GateURL, c.Secret)
	s := gates[name]
	if s == nil {
		s = &shared{addresses: c.GateURL, secret: c.Secret, transport: newTransport()}
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

// inUse reports whether an instance used this gate recently; if not, its state is dropped.
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
	delete(gates, nameOf(s.addresses, s.secret))
	s.transport.CloseIdleConnections()
	return false
}

func nameOf(addresses []string, secret string) string {
	return strings.Join(addresses, " ") + "\x00" + secret
}

func list(s *shared) string {
	return strings.Join(s.addresses, ", ")
}

// newTransport: by default Go keeps two idle connections per host, and under load opens a new one for most requests.
// Without Proxy, an HTTP_PROXY in Traefik's environment is not used.
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

// appOf returns the state of an app of this gate.
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

// ignoredFor returns the headers to ignore, given those with credentials and those that are removed.
func ignoredFor(s *shared, headers []string, pattern string, also *regexp.Regexp) *ignored {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Headers that are removed for one app may be passed on and learnt for another.
	name := strings.Join(headers, ",") + "\x00" + pattern
	known := s.ignored[name]
	if known == nil {
		known = newIgnored(headers, also)
		s.ignored[name] = known
	}
	return known
}

// asked records the result of a call. After a failure without another sign of life, the gate is down: then one call
// is made at a time, since the others would only wait.
func asked(s *shared, failed bool) {
	if !failed {
		alive(s)
		return
	}
	if !s.down && now()-s.heardAt > silence {
		s.down = true
		log.Printf("the gate at %s does not answer: answers that it gave before hold for a while, others are refused", list(s))
	}
}

func alive(s *shared) {
	s.aliveAt = now()
	if s.down {
		s.down = false
		log.Printf("the gate at %s answers again", list(s))
	}
}
