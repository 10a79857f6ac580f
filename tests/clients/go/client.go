// A client of the tutorial's contract: client PORT framed|unframed DOCUMENT prints a line "label score" for each label.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/apache/thrift/lib/go/thrift"
	"tutorial"
)

func main() {
	configuration := &thrift.TConfiguration{}
	var transport thrift.TTransport = thrift.NewTSocketConf("127.0.0.1:"+os.Args[1], configuration)
	if os.Args[2] == "framed" {
		transport = thrift.NewTFramedTransportConf(transport, configuration)
	} else {
		transport = thrift.NewTBufferedTransport(transport, 4096)
	}
	if err := transport.Open(); err != nil {
		log.Fatal(err)
	}
	defer transport.Close()
	client := tutorial.NewPredictorClientFactory(transport, thrift.NewTBinaryProtocolFactoryConf(configuration))
	scores, err := client.Predict(context.Background(), os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	for label, score := range scores {
		fmt.Printf("%s %.17g\n", label, score)
	}
}
