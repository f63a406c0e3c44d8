<?php
// The twin of printer.py.
$seconds = (float) $_GET["seconds"];
$rate = (float) $_GET["rate"];
$line = "debug: " . str_repeat("x", 72) . "\n";
$stderr = fopen("php://stderr", "w");
$begun = microtime(true);
$printed = 0;
while (($passed = microtime(true) - $begun) < $seconds) {
    if ($rate && $printed >= $rate * $passed) {
        usleep(500);
        continue;
    }
    for ($i = 0; $i < ($rate ? 1 : 20); $i++) {
        fwrite($stderr, $line);
        $printed++;
    }
}
$body = (string) $printed;
header("Content-Length: " . strlen($body));
echo $body;
