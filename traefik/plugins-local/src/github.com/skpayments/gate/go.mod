module github.com/skpayments/gate

go 1.19
