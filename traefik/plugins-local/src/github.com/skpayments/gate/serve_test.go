package gate

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A gate whose one user, alice, is on the tier that `change` last set.
type aGate struct {
	*httptest.Server
	mu      sync.Mutex
	number  int
	lines   chan string
	epoch   string
	asked   atomic.Int64
	refuse  atomic.Int64
	code    string
	streams atomic.Int64
}

func newGate(t *testing.T) *aGate {
	t.Helper()
	g := &aGate{lines: make(chan string, 10000), epoch: "e1", code: "x"}
	g.Server = httptest.NewServer(http.HandlerFunc(g.answer))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
	})
	return g
}

func (g *aGate) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/gate/changes" {
		g.stream(w, r)
		return
	}
	if r.URL.Path == "/ready" {
		if g.refuse.Load() != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	g.asked.Add(1)
	if status := g.refuse.Load(); status != 0 {
		w.Header().Set("X-SK-Keep", "never")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("Location", "/buy?t=1")
		w.Header().Set("Keep-Alive", "x")
		w.WriteHeader(int(status))
		fmt.Fprintf(w, `{"error":"%s"}`, g.code)
		return
	}
	g.mu.Lock()
	number := g.number
	g.mu.Unlock()
	h := w.Header()
	h.Set("X-SK-User", "alice")
	h.Set("X-SK-Tier", fmt.Sprint(number))
	h.Set("X-SK-Keep", fmt.Sprintf("%s %d p1 0 v1 %d 0", g.epoch, number, time.Now().Unix()+60))
}

func (g *aGate) stream(w http.ResponseWriter, r *http.Request) {
	g.streams.Add(1)
	defer g.streams.Add(-1)
	g.mu.Lock()
	fmt.Fprintf(w, `{"process":"p1","epoch":"%s","n":%d,"rules":{"blog":{"routes":[]}},"version":"v1"}`+"\n", g.epoch, g.number)
	g.mu.Unlock()
	w.(http.Flusher).Flush()
	for {
		select {
		case text := <-g.lines:
			if text == "" {
				return
			}
			fmt.Fprintln(w, text)
		case <-r.Context().Done():
			return
		case <-time.After(100 * time.Millisecond):
			g.mu.Lock()
			if len(g.lines) == 0 {
				fmt.Fprintf(w, `{"n":%d}`+"\n", g.number)
			}
			g.mu.Unlock()
		}
		w.(http.Flusher).Flush()
	}
}

// change gives alice another tier and publishes it.
func (g *aGate) change() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number++
	g.lines <- fmt.Sprintf(`{"n":%d,"app":"blog","user":"alice"}`, g.number)
	return g.number
}

// during ends with the test.
func during(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx
}

func middleware(t *testing.T, ctx context.Context, address string, next http.HandlerFunc) *Middleware {
	t.Helper()
	return middlewareOf(t, ctx, []string{address}, next)
}

func middlewareOf(t *testing.T, ctx context.Context, addresses []string, next http.HandlerFunc) *Middleware {
	t.Helper()
	c := CreateConfig()
	c.GateURL, c.App, c.Secret, c.Headers = addresses, "blog", "secret", []string{"Cookie"}
	made, err := New(ctx, next, c, "test")
	if err != nil {
		t.Fatal(err)
	}
	return made.(*Middleware)
}

func serve(m http.Handler, method string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://blog.test/a?b=c", nil)
	r.RequestURI = "/a?b=c"
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("never: " + what)
		}
	}
}

func heard(s *shared, number int) func() bool {
	return func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.number >= int64(number) && s.liveUntil > now()
	}
}

func TestNoRequestAfterAReceivedChangeHasTheOldTier(t *testing.T) {
	g := newGate(t)
	var lowest atomic.Int64
	m := middleware(t, during(t), g.URL, func(w http.ResponseWriter, r *http.Request) {
		var tier, least int64
		_, _ = fmt.Sscan(r.Header.Get("X-Sk-Tier"), &tier)
		_, _ = fmt.Sscan(r.Header.Get("Least"), &least)
		if tier < least {
			t.Errorf("tier %d where it was %d", tier, least)
		}
	})
	eventually(t, "a stream", heard(m.shared, 0))
	stop := make(chan bool)
	var working sync.WaitGroup
	for i := 0; i < 8; i++ {
		working.Add(1)
		go func(i int) {
			defer working.Done()
			for {
				select {
				case <-stop:
					return
				default:
					header := http.Header{"Cookie": {fmt.Sprint("token=", i%3)}, "Least": {fmt.Sprint(lowest.Load())}}
					if code := serve(m, "GET", header).Code; code != http.StatusOK {
						t.Error(code)
					}
				}
			}
		}(i)
	}
	for i := 0; i < 200; i++ {
		number := g.change()
		eventually(t, "the change", heard(m.shared, number))
		lowest.Store(int64(number))
		if i%50 == 0 {
			g.lines <- ""
			eventually(t, "the end of the stream", func() bool { return !heard(m.shared, number)() })
			eventually(t, "another stream", heard(m.shared, number))
		}
	}
	close(stop)
	working.Wait()
	if g.asked.Load() == 0 {
		t.Error("nothing was ever asked")
	}
}

func TestACachedAnswerNeedsNoCall(t *testing.T) {
	g := newGate(t)
	m := middleware(t, during(t), g.URL, func(w http.ResponseWriter, r *http.Request) {})
	eventually(t, "a stream", heard(m.shared, 0))
	for i := 0; i < 10; i++ {
		// The second unknown header is learnt with the first request.
		serve(m, "GET", http.Header{"Cookie": {"a"}, "X-Odd": {fmt.Sprint(i)}, "X_SK_Tier": {"forged"}})
	}
	if asked := g.asked.Load(); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestACancelledRequestIsNoFailureOfTheGate(t *testing.T) {
	asked := make(chan bool, 1)
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gate" {
			asked <- true
		}
		<-r.Context().Done()
	}))
	defer gate.Close()
	m := middleware(t, during(t), gate.URL, func(w http.ResponseWriter, r *http.Request) { t.Error("let through") })
	ctx, cancel := context.WithCancel(during(t))
	go func() {
		<-asked
		cancel()
	}()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "http://blog.test/a", nil).WithContext(ctx))
	if w.Code != clientGone || m.shared.down || m.shared.probing {
		t.Error(w.Code, m.shared.down, m.shared.probing)
	}
}

func TestARefusalReachesTheClientUnchanged(t *testing.T) {
	g := newGate(t)
	m := middleware(t, during(t), g.URL, func(w http.ResponseWriter, r *http.Request) { t.Error("let through") })
	for _, status := range []int{401, 402, 403, 303, 404, 429, 503, 204} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			g.refuse.Store(int64(status))
			w := serve(m, method, nil)
			h := w.Result().Header
			if w.Code != status || h.Get("Location") != "/buy?t=1" || len(h["Set-Cookie"]) != 2 {
				t.Errorf("%s %d: %d %v", method, status, w.Code, h)
			}
			if h.Get("X-Sk-Keep") != "" || h.Get("Keep-Alive") != "" {
				t.Errorf("%s %d: %v", method, status, h)
			}
			body := `{"error":"x"}`
			if method == "HEAD" || status == 204 {
				body = ""
			}
			if w.Body.String() != body || status != 204 && h.Get("Content-Length") != "13" {
				t.Errorf("%s %d: %q %v", method, status, w.Body, h)
			}
		}
	}
}

func TestAMisconfiguredInstanceRefusesEverything(t *testing.T) {
	t.Setenv("GATE_SECRET", "")
	for _, spoil := range []func(*Config){
		func(c *Config) { c.GateURL = nil },
		func(c *Config) { c.GateURL = []string{""} },
		func(c *Config) { c.GateURL = []string{"http://skpayments:8081", "skpayments:8081"} },
		func(c *Config) { c.GateURL = []string{"http://skpayments:8081/gate"} },
		func(c *Config) { c.App = "" },
		func(c *Config) { c.Secret = "" },
		func(c *Config) { c.StaleFor = -1 },
		func(c *Config) { c.MaxEntries = 0 },
	} {
		c := CreateConfig()
		c.GateURL, c.App, c.Secret = []string{"http://127.0.0.1:1"}, "blog", "secret"
		spoil(c)
		let := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("let through") })
		m, err := New(during(t), let, c, "test")
		if err != nil {
			t.Fatal("Traefik drops the router:", err)
		}
		if w := serve(m, "GET", nil); w.Code != http.StatusServiceUnavailable {
			t.Error(w.Code)
		}
	}
}

func TestTheDefaultSecretIsThatOfTheEnvironment(t *testing.T) {
	t.Setenv("GATE_SECRET", "from the environment")
	c := CreateConfig()
	c.GateURL, c.App = []string{"http://127.0.0.1:1"}, "blog"
	m, _ := New(during(t), nil, c, "test")
	if secret := m.(*Middleware).shared.secret; secret != "from the environment" {
		t.Error(secret)
	}
}

func TestOurOwnHeadersAreNeverCredentials(t *testing.T) {
	found := headersOf([]string{"cookie", " X-API-key", "Cookie", "X-SK-Tier", "X_SK_Gate", "Connection", "Host", ""})
	if len(found) != 2 || found[0] != "Cookie" || found[1] != "X-Api-Key" {
		t.Error(found)
	}
}

func TestNoProxyIsUsedAndConnectionsAreReused(t *testing.T) {
	transport := newTransport()
	if transport.Proxy != nil || transport.MaxIdleConnsPerHost != 256 || transport.MaxIdleConns != 256 {
		t.Error(transport)
	}
}

func TestOneStreamForAllInstancesAndNoneAfterTheLast(t *testing.T) {
	g := newGate(t)
	ctx, cancel := context.WithCancel(during(t))
	first := middleware(t, ctx, g.URL, nil)
	second := middleware(t, ctx, g.URL, nil)
	if first.shared != second.shared || first.app != second.app || first.ignored != second.ignored {
		t.Error("not shared")
	}
	eventually(t, "a stream", func() bool { return g.streams.Load() == 1 })
	cancel()
	third := middleware(t, during(t), g.URL+"/", nil)
	if third.shared != first.shared {
		t.Error("a reload starts all over")
	}
	if g.streams.Load() != 1 {
		t.Error(g.streams.Load())
	}
}
