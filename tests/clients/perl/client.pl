# A client of the tutorial's contract: PORT framed|unframed DOCUMENT prints a line "label score" for each label.
use strict;
use warnings;

use Thrift::BinaryProtocol;
use Thrift::BufferedTransport;
use Thrift::FramedTransport;
use Thrift::Socket;

use Predictor;

my ($port, $framing, $doc) = @ARGV;
my $socket    = Thrift::Socket->new('127.0.0.1', $port);
my $layer     = $framing eq 'framed' ? 'Thrift::FramedTransport' : 'Thrift::BufferedTransport';
my $transport = $layer->new($socket);
my $client    = PredictorClient->new(Thrift::BinaryProtocol->new($transport));
$transport->open();
my $scores = $client->predict($doc);
printf "%s %.17g\n", $_, $scores->{$_} for keys %$scores;
$transport->close();
