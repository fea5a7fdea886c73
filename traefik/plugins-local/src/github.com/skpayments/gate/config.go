package gate

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Config is what a middleware of Traefik's dynamic configuration says.
type Config struct {
	// Where the gate listens: http://skpayments:8081.
	Address string `json:"address,omitempty"`
	App     string `json:"app,omitempty"`
	// Proves Traefik to the gate. Without it, GATE_SECRET of Traefik's own environment.
	Secret string `json:"secret,omitempty"`
	// The headers in which users of this app identify themselves.
	Headers []string `json:"headers,omitempty"`
	// A pattern of the header names that are taken from this app's visitors, beside ours.
	Taken string `json:"taken,omitempty"`
	// For how many seconds answers that the gate gave before hold while it is gone.
	StaleFor int `json:"staleFor,omitempty"`
	// How many answers are kept at most.
	MaxEntries int `json:"maxEntries,omitempty"`
}

// CreateConfig gives the values of what a configuration leaves out.
func CreateConfig() *Config {
	return &Config{StaleFor: 60, MaxEntries: 100000}
}

// New makes one instance. It never fails: Traefik drops a router whose middleware does, and the request would fall
// through to whatever matches next. An instance that cannot work refuses everything instead.
func New(ctx context.Context, next http.Handler, c *Config, name string) (http.Handler, error) {
	given := *c
	given.Address = strings.TrimRight(given.Address, "/")
	if given.Secret == "" {
		given.Secret = os.Getenv("GATE_SECRET")
	}
	if err := problem(&given); err != nil {
		log.Printf("%s: %v: every request is refused", name, err)
		return http.HandlerFunc(refuseAll), nil
	}
	headers := headersOf(given.Headers)
	m := &Middleware{
		next:     next,
		shared:   join(ctx, &given),
		question: newQuestion(&given, headers),
		headers:  headers,
		staleFor: time.Duration(given.StaleFor) * time.Second,
	}
	m.app = appOf(m.shared, given.App)
	if given.Taken != "" {
		m.taken = regexp.MustCompile(given.Taken)
	}
	m.ignored = ignoredFor(m.shared, headers, given.Taken, m.taken)
	m.reading = m.shared.mu.RLocker()
	return m, nil
}

func refuseAll(w http.ResponseWriter, r *http.Request) {
	refuse(w, r, gone())
}

func problem(c *Config) error {
	address, err := url.Parse(c.Address)
	switch {
	case err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" || address.Path != "":
		return errors.New("address: expected a URL such as http://skpayments:8081")
	case c.App == "":
		return errors.New("app: expected the id of an app")
	case c.Secret == "":
		return errors.New("secret: GATE_SECRET is empty")
	case c.StaleFor < 0:
		return errors.New("staleFor: expected a number of seconds")
	case !compiles(c.Taken):
		return errors.New("taken: expected a regular expression")
	case c.MaxEntries < 2:
		return errors.New("maxEntries: expected 2 or more")
	}
	return nil
}

func compiles(pattern string) bool {
	_, err := regexp.Compile(pattern)
	return err == nil
}

// headersOf: each once, as Go spells it; none that is ours, or that is about one connection only.
func headersOf(names []string) []string {
	headers := []string{}
	seen := named("Host")
	for _, name := range names {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if name != "" && !seen[name] && !hopByHop[name] && !ours.MatchString(name) {
			seen[name] = true
			headers = append(headers, name)
		}
	}
	return headers
}
