package gate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
)

const (
	keepHeader = "X-Sk-Keep"
	maxBody    = 64 << 10
)

// Hop-by-hop headers, by RFC 9110 and by convention.
var hopByHop = named(
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Trailers", "Transfer-Encoding", "Upgrade",
)

// The headers that the gate reads of every request besides credentials.
var alwaysAsked = []string{"Accept", "Origin", "Sec-Fetch-Mode", "Access-Control-Request-Method"}

// The constant parts of all calls of one instance. path follows the gate's address.
type question struct {
	path    string
	secret  []string
	headers []string
}

func newQuestion(c *Config, headers []string) *question {
	return &question{
		path:    "/gate?app=" + url.QueryEscape(c.App),
		secret:  []string{c.Secret},
		headers: append(append([]string{}, headers...), alwaysAsked...),
	}
}

// The gate's response.
type reply struct {
	status int
	header http.Header
	body   []byte
}

var (
	yes          = []string{"1"}
	errUnusable  = errors.New("the gate's answer cannot be used")
	schemeOfTLS  = []string{"https"}
	schemeOfNone = []string{"http"}
)

// ask calls the gate for a request: at the address in use and, while an address gives no answer, at the next one.
func ask(s *shared, q *question, r *http.Request) (*reply, error) {
	var said *reply
	var err error
	first := current(s)
	for n := range s.addresses {
		i := (first + n) % len(s.addresses)
		said, err = askAt(s, s.addresses[i], q, r)
		if err == nil && !unable(said) {
			use(s, first, i)
			return said, nil
		}
		if r.Context().Err() != nil {
			break
		}
	}
	return said, err
}

// unable reports whether a gate cannot answer now although another one may. Where the service that must be asked about
// the credential does not answer, it answers no other gate either.
func unable(said *reply) bool {
	if said.status != http.StatusServiceUnavailable {
		return false
	}
	var problem struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(said.body, &problem) != nil || problem.Error != "identity_unavailable"
}

// askAt calls the gate at one address. The request is described by the connection and the request line: headers of the
// client about these are not trusted.
func askAt(s *shared, address string, q *question, r *http.Request) (*reply, error) {
	ctx, cancel := context.WithTimeout(r.Context(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+q.path, nil)
	if err != nil {
		return nil, err
	}
	h := request.Header
	for _, name := range q.headers {
		if values := r.Header[name]; values != nil {
			h[name] = values
		}
	}
	h["X-Sk-Gate"] = q.secret
	h["X-Sk-Plugin"] = yes
	h["X-Forwarded-Method"] = []string{r.Method}
	h["X-Forwarded-Host"] = []string{r.Host}
	h["X-Forwarded-Uri"] = []string{r.RequestURI}
	h["X-Forwarded-Proto"] = schemeOfNone
	if r.TLS != nil {
		h["X-Forwarded-Proto"] = schemeOfTLS
	}
	if peer, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h["X-Forwarded-For"] = []string{peer}
	}
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil && (len(body) > maxBody || response.StatusCode < 200) {
		err = errUnusable
	}
	return &reply{status: response.StatusCode, header: response.Header, body: body}, err
}
