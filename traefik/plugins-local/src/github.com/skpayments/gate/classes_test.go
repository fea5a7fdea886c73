package gate

import (
	"fmt"
	"strings"
	"testing"
)

func appWith(rules ...rule) *app {
	return &app{id: "blog", rules: rules, classes: map[string]string{}}
}

func TestWhatIsAskedEachTime(t *testing.T) {
	for _, path := range []string{
		"", "a", "/a%20b", "/%61", "/a\\b", "/a;b", "//a", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/a/.",
		"/a?b", "/a#b", "/a b", "/é", "/a\x00b", "/a|b", "/a^b", "/[a]", "http://blog.test/a", "*",
		"/.skpayments/upgrade", "/.skpayments/upgrade/", "/.SKPayments/Upgrade", "/.skpayments/upgrade/x",
		"/.skpayments/arrived", "/...", "/pro./x", "/x.", "/" + strings.Repeat("a", 2048),
	} {
		if class := classOf(appWith(), 1, "GET", path, "blog.test"); class != "" {
			t.Errorf("%q: %q", path, class)
		}
	}
	for _, method := range []string{"OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "", "QUERY"} {
		if class := classOf(appWith(), 1, method, "/a", "blog.test"); class != "" {
			t.Errorf("%q: %q", method, class)
		}
	}
	unknown := appWith()
	unknown.unknown = true
	if class := classOf(unknown, 1, "GET", "/a", "blog.test"); class != "" {
		t.Error("without rules")
	}
}

func TestOneClassForWhatOneAnswerHoldsFor(t *testing.T) {
	a := appWith(
		rule{Path: "/Paid/", Folded: "/paid/"},
		rule{Path: "/paid/free/", Folded: "/paid/free/"},
		rule{Path: "/form/", Folded: "/form/", Methods: []string{"POST"}},
		rule{Path: "/doc/", Folded: "/doc/", Methods: []string{"GET", "HEAD"}},
		rule{Path: "/head/", Folded: "/head/", Methods: []string{"HEAD"}},
	)
	for _, row := range []struct {
		one, other string
		same       bool
	}{
		{"GET /a", "GET /b/c/d.css", true},
		{"GET /a", "POST /a", true},
		{"GET /a", "GET /a.b/.c", true},
		{"GET /a", "GET /.well-known/x", true},
		{"GET /a", "GET /Paid", false},
		{"GET /Paid", "GET /Paid/x", true},
		{"GET /Paid", "GET /paid", false},
		{"GET /a", "GET /pAiD/x", false},
		{"GET /a", "GET /paidx", true},
		{"GET /paid/x", "GET /paid/free/x", false},
		{"GET /paid/FREE", "GET /paid/free", false},
		{"GET /form", "POST /form", false},
		{"GET /form", "GET /a", true},
		{"HEAD /doc", "GET /doc", true},
		{"PUT /doc", "DELETE /doc", true},
		{"POST /doc", "GET /doc", false},
		{"HEAD /head", "GET /head", false},
	} {
		classes := []string{}
		for _, text := range []string{row.one, row.other} {
			var method, path string
			_, _ = fmt.Sscanf(text, "%s %s", &method, &path)
			classes = append(classes, classOf(a, 1, method, path, "blog.test"))
			if again := classOf(a, 1, method, path, "blog.test"); again != classes[len(classes)-1] {
				t.Errorf("%s: %q, then %q", text, classes[len(classes)-1], again)
			}
		}
		if classes[0] == "" || classes[1] == "" || (classes[0] == classes[1]) != row.same {
			t.Errorf("%s, %s: %q", row.one, row.other, classes)
		}
	}
}

func TestHostsAndAppsAndGenerationsAreClassesOfTheirOwn(t *testing.T) {
	other := appWith()
	other.id = "shop"
	classes := map[string]bool{
		classOf(appWith(), 1, "GET", "/a", "blog.test"):     true,
		classOf(appWith(), 1, "GET", "/a", "www.blog.test"): true,
		classOf(appWith(), 2, "GET", "/a", "blog.test"):     true,
		classOf(other, 1, "GET", "/a", "blog.test"):         true,
	}
	if len(classes) != 4 {
		t.Error(classes)
	}
}

func TestPathsWithoutEndTakeNoMemory(t *testing.T) {
	a := appWith()
	for i := 0; i < 2*maxClasses; i++ {
		classOf(a, 1, "GET", fmt.Sprintf("/%d", i), "blog.test")
	}
	if len(a.classes) > maxClasses {
		t.Error(len(a.classes))
	}
}
