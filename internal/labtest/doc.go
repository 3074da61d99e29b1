// Package labtest owns what tests against the lab's real storage nodes share:
// a plain backend over the lab's agents, and the check that nothing is left
// over on any node when a test ends.
//
// Its code is built with the tag lab only. It refuses to know how the lab is
// built and what is tested.
package labtest
