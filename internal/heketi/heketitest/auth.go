package heketitest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// leeway is by how much a client's clock may be ahead.
const leeway = 2 * time.Minute

// claims are what a token says.
type claims struct {
	Iss string `json:"iss"`
	Iat int64  `json:"iat"`
	Exp int64  `json:"exp"`
	Qsh string `json:"qsh"`
}

// refuse returns why a request's token is not accepted, in heketi's words;
// empty where it is.
func (s *Server) refuse(r *http.Request) string {
	if len(s.config.Users) == 0 {
		return ""
	}
	const scheme = "Bearer "
	header := r.Header.Get("Authorization")
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "Required authorization token not found"
	}
	parts := strings.Split(header[len(scheme):], ".")
	if len(parts) != 3 {
		return "Invalid JWT token: token contains an invalid number of segments"
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return "Invalid JWT token: illegal base64 data"
	}
	key, known := s.config.Users[c.Iss]
	if !known {
		return "Invalid JWT token: Unknown user"
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if signature, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return "Invalid JWT token: signature is invalid (client and server secrets may not match)"
	}
	want := sha256.Sum256([]byte(r.Method + "&" + r.URL.Path))
	switch now := time.Now(); {
	case now.Unix() > c.Exp:
		return "Invalid JWT token: Token is expired"
	case now.Add(leeway).Unix() < c.Iat:
		return "Invalid JWT token: Token used before issued (client and server clocks may differ)"
	case c.Qsh != hex.EncodeToString(want[:]):
		return "Invalid qsh claim in token"
	case c.Iss == "user" && r.URL.Path != "/volumes":
		return "Administrator access required"
	}
	return ""
}
