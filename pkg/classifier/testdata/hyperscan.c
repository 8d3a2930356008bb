/*
 * Times Hyperscan on one message: expressions come on standard input, one a line,
 * the message is in the file named, the time in ns a message goes to standard
 * output. Only BenchmarkHyperscan builds and runs this.
 */
#include <hs/hs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int matched(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context)
{
	return 0;
}

int main(int argc, char **argv)
{
	static char lines[1000][512], message[4096];
	const char *expressions[1000];
	unsigned flags[1000], ids[1000], n = 0;
	hs_database_t *database;
	hs_compile_error_t *error;
	hs_scratch_t *scratch = NULL;
	struct timespec start, end;
	const int rounds = 200000;
	size_t length;
	FILE *file;

	while (n < 1000 && fgets(lines[n], sizeof(lines[n]), stdin)) {
		lines[n][strcspn(lines[n], "\n")] = 0;
		expressions[n] = lines[n];
		flags[n] = HS_FLAG_CASELESS | HS_FLAG_SINGLEMATCH;
		ids[n] = n;
		n++;
	}
	if (argc != 2 || !(file = fopen(argv[1], "rb")))
		return 1;
	length = fread(message, 1, sizeof(message), file);
	if (hs_compile_multi(expressions, flags, ids, n, HS_MODE_BLOCK, NULL, &database, &error)) {
		fprintf(stderr, "%s: %s\n", error->expression < 0 ? "" : lines[error->expression], error->message);
		return 1;
	}
	if (hs_alloc_scratch(database, &scratch))
		return 1;
	for (int warm = 0; warm < 2; warm++) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		for (int i = 0; i < rounds; i++)
			hs_scan(database, message, length, 0, scratch, matched, NULL);
		clock_gettime(CLOCK_MONOTONIC, &end);
	}
	printf("%.1f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / rounds);
	return 0;
}
