// Package bench owns the comparison of places to keep data: targets are opened,
// the jobs run on them in turns, and what was measured is kept, judged, compared
// with other results and held against thresholds.
//
// It refuses to know how a volume is made (lifecycle does), how it is mounted
// (mount does), what fio's output looks like (bench/fio does), and how a result is
// shown (bench/report does). It gives no number where the rounds do not bear one.
package bench
