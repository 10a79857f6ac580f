<?php
// A client of the tutorial's contract: PORT framed|unframed DOCUMENT prints a line "label score" for each label.
use Thrift\Protocol\TBinaryProtocol;
use Thrift\Transport\TBufferedTransport;
use Thrift\Transport\TFramedTransport;
use Thrift\Transport\TSocket;

// Debian's package has Thrift\Transport\TSocket in /usr/lib/php/Transport; generated classes have no namespace.
spl_autoload_register(function (string $class): void {
    $library = '/usr/lib/php/' . str_replace('\\', '/', preg_replace('/^Thrift\\\\/', '', $class)) . '.php';
    $generated = getenv('GENERATED') . "/$class.php";
    require file_exists($generated) ? $generated : $library;
});

[, $port, $framing, $doc] = $argv;
$socket = new TSocket('127.0.0.1', (int) $port);
$transport = $framing === 'framed' ? new TFramedTransport($socket) : new TBufferedTransport($socket);
$client = new PredictorClient(new TBinaryProtocol($transport));
$transport->open();
foreach ($client->predict($doc) as $label => $score) {
    printf("%s %.17g\n", $label, $score);
}
$transport->close();
