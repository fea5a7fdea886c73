package gate

import (
	"fmt"
	"strings"
	"testing"
)

func class(method, path string, rules ...rule) string {
	return classOf("blog", rules, method, path, "blog.test")
}

func TestRequestsWithoutAClass(t *testing.T) {
	for _, path := range []string{
		"", "a", "/a%20b", "/%61", "/a\\b", "/a;b", "//a", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/a/.",
		"/a?b", "/a#b", "/a b", "/é", "/a\x00b", "/a|b", "/a^b", "/[a]", "http://blog.test/a", "*",
		"/.skpayments/upgrade", "/.skpayments/upgrade/", "/.SKPayments/Upgrade", "/.skpayments/upgrade/x",
		"/.skpayments/arrived", "/...", "/pro./x", "/x.", "/" + strings.Repeat("a", 2048),
	} {
		if found := class("GET", path); found != "" {
			t.Errorf("%q: %q", path, found)
		}
	}
	for _, method := range []string{"OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "", "QUERY"} {
		if found := class(method, "/a"); found != "" {
			t.Errorf("%q: %q", method, found)
		}
	}
}

func TestRequestsWithTheSameAnswerShareAClass(t *testing.T) {
	rules := []rule{
		rule{Path: "/Paid/", Folded: "/paid/"},
		rule{Path: "/paid/free/", Folded: "/paid/free/"},
		rule{Path: "/form/", Folded: "/form/", Methods: []string{"POST"}},
		rule{Path: "/doc/", Folded: "/doc/", Methods: []string{"GET", "HEAD"}},
		rule{Path: "/head/", Folded: "/head/", Methods: []string{"HEAD"}},
		rule{Path: "/models/", Folded: "/models/", Within: "/images/"},
	}
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
		{"GET /models/a/images", "GET /models/b/c/Images/d", true},
		{"GET /models/a/images", "GET /models/a/imagesx", false},
		{"GET /models/a", "GET /b/images", true},
	} {
		classes := []string{}
		for _, text := range []string{row.one, row.other} {
			var method, path string
			_, _ = fmt.Sscanf(text, "%s %s", &method, &path)
			classes = append(classes, class(method, path, rules...))
		}
		if classes[0] == "" || classes[1] == "" || (classes[0] == classes[1]) != row.same {
			t.Errorf("%s, %s: %q", row.one, row.other, classes)
		}
	}
}

func TestHostsAppsAndGenerationsHaveSeparateClasses(t *testing.T) {
	classes := map[string]bool{
		ofGeneration(1, classOf("blog", nil, "GET", "/a", "blog.test")):     true,
		ofGeneration(1, classOf("blog", nil, "GET", "/a", "www.blog.test")): true,
		ofGeneration(2, classOf("blog", nil, "GET", "/a", "blog.test")):     true,
		ofGeneration(1, classOf("shop", nil, "GET", "/a", "blog.test")):     true,
	}
	if len(classes) != 4 {
		t.Error(classes)
	}
}

func TestMemoryForPathsIsBounded(t *testing.T) {
	a := &app{classes: map[string]string{}}
	for i := 0; i < 2*maxClasses; i++ {
		remember(a, fmt.Sprintf("GET/%d blog.test", i), "class")
	}
	remember(a, strings.Repeat("a", maxClassBytes+1), "class")
	if len(a.classes) > maxClasses || a.classes[strings.Repeat("a", maxClassBytes+1)] != "" {
		t.Error(len(a.classes))
	}
}
