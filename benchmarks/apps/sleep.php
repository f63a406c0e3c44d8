<?php
// The twin of /sleep in examples/torture.py.
usleep((int) ($_GET["s"] * 1e6));
$body = getmypid() . "\n";
header("Content-Type: text/plain");
header("Content-Length: " . strlen($body));
echo $body;
