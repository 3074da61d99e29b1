package heketi

import "slices"

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// otherCA signs nothing here.
const otherCA = `-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIUKpBIKG/BLbQKVGxQqh6OrICaH1gwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFb3RoZXIwIBcNMjYxMTI0MDYyNTE5WhgPMjEyNjEwMzEwNjI1
MTlaMBAxDjAMBgNVBAMMBW90aGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
ZR7ZQ0nL8+ayGOnthfNIsa8uqCwirwB06TofmzhGc+ubyqwZaeHKXJ8MbYBr48Na
mdukSt0L/mWIaFwHpp9bnKNTMFEwHQYDVR0OBBYEFMVSrOQFp1Aa0juMjghDNwde
fNwiMB8GA1UdIwQYMBaAFMVSrOQFp1Aa0juMjghDNwdefNwiMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAOivYwGnJmGKgmOOGVFzbXcUWS2oKUmt
ygRxBZndwTvAAiBp8gxsk48g3Vsc4nyZc1m40xAwMg10yvkdHqZPl5f3pw==
-----END CERTIFICATE-----
`
