/* test-ssh-key.c - new host keys are such for those who use them: OpenSSH's and Dropbear's own
 * programs read every form, and what these made is known for what it is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/ssh-key.h"

#include <glib/gstdio.h>
#include <unistd.h>

static const char *scratch; /* a folder of this program */

/* What a program prints; NULL: it failed. */
static char *
run_tool (const char *const *argv)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *output = NULL;
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                           &error);

  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, NULL, NULL, &output, NULL, &error);
  g_assert_no_error (error);
  if (g_subprocess_get_successful (process))
    return g_steal_pointer (&output);
  g_test_message ("%s: %s", argv[0], output);
  return NULL;
}

static gboolean
has_tool (const char *name)
{
  g_autofree char *path = g_find_program_in_path (name);

  return path != NULL;
}

static char *
save (GBytes *data)
{
  char *path = g_build_filename (scratch, "key", NULL);
  gsize length;
  const char *bytes = g_bytes_get_data (data, &length);

  g_autofree char *public_path = g_strconcat (path, ".pub", NULL);

  g_unlink (path);
  g_unlink (public_path);
  g_assert_true (g_file_set_contents_full (path, bytes, (gssize)length, 0, 0600, NULL));
  return path;
}

/* --- keys that were made here ----------------------------------------------------------------- */

typedef struct
{
  const char *name;
  H2kSshKind kind;
  guint asked, bits;
  H2kSshForm form;
} Made;

static const Made made[] = {
    {"rsa", H2K_SSH_RSA, 3072, 3072, H2K_SSH_FORM_OPENSSH},
    {"rsa-too-small", H2K_SSH_RSA, 768, 2048, H2K_SSH_FORM_OPENSSH},
    {"rsa-hostile", H2K_SSH_RSA, 32768, 4096, H2K_SSH_FORM_PEM},
    {"rsa-pem", H2K_SSH_RSA, 2048, 2048, H2K_SSH_FORM_PEM},
    {"rsa-dropbear", H2K_SSH_RSA, 2048, 2048, H2K_SSH_FORM_DROPBEAR},
    {"dsa", H2K_SSH_DSA, 1024, 1024, H2K_SSH_FORM_OPENSSH},
    {"dsa-pem", H2K_SSH_DSA, 1024, 1024, H2K_SSH_FORM_PEM},
    {"dsa-dropbear", H2K_SSH_DSA, 1024, 1024, H2K_SSH_FORM_DROPBEAR},
    {"ecdsa-256", H2K_SSH_ECDSA, 256, 256, H2K_SSH_FORM_OPENSSH},
    {"ecdsa-384", H2K_SSH_ECDSA, 384, 384, H2K_SSH_FORM_OPENSSH},
    {"ecdsa-521", H2K_SSH_ECDSA, 521, 521, H2K_SSH_FORM_OPENSSH},
    {"ecdsa-256-pem", H2K_SSH_ECDSA, 256, 256, H2K_SSH_FORM_PEM},
    {"ecdsa-384-pem", H2K_SSH_ECDSA, 384, 384, H2K_SSH_FORM_PEM},
    {"ecdsa-521-pem", H2K_SSH_ECDSA, 521, 521, H2K_SSH_FORM_PEM},
    {"ecdsa-256-dropbear", H2K_SSH_ECDSA, 256, 256, H2K_SSH_FORM_DROPBEAR},
    {"ecdsa-521-dropbear", H2K_SSH_ECDSA, 521, 521, H2K_SSH_FORM_DROPBEAR},
    {"ed25519", H2K_SSH_ED25519, 256, 256, H2K_SSH_FORM_OPENSSH},
    {"ed25519-dropbear", H2K_SSH_ED25519, 256, 256, H2K_SSH_FORM_DROPBEAR},
};

/* A signature by the private key that the public one confirms: all of its numbers are right. */
static void
claim_signs (const char *path, const char *public)
{
  g_autofree char *message = g_build_filename (scratch, "message", NULL);
  g_autofree char *signature = g_strconcat (message, ".sig", NULL);
  g_autofree char *allowed = g_build_filename (scratch, "allowed", NULL);
  g_autofree char *line = g_strconcat ("me ", public, NULL);
  const char *sign[] = {"ssh-keygen", "-Y", "sign", "-q", "-n", "test", "-f", path, message, NULL};
  g_autofree char *verify
      = g_strdup_printf ("ssh-keygen -Y verify -n test -I me -f '%s' -s '%s' < '%s'", allowed,
                         signature, message);
  const char *shell[] = {"sh", "-c", verify, NULL};
  g_autofree char *public_path = g_strconcat (path, ".pub", NULL);
  g_autofree char *signed_text = NULL, *verified = NULL;

  g_unlink (signature);
  g_assert_true (g_file_set_contents (public_path, public, -1, NULL));
  g_assert_true (g_file_set_contents (message, "a message", -1, NULL));
  g_assert_true (g_file_set_contents (allowed, line, -1, NULL));
  g_assert_nonnull (signed_text = run_tool (sign));
  g_assert_nonnull (verified = run_tool (shell));
}

static void
claim_openssh_reads (const Made *test, const H2kSshKey *key, const char *path)
{
  g_autofree char *fingerprint = h2k_ssh_key_fingerprint (key);
  g_autofree char *expected = g_strdup_printf ("%u %s ", test->bits, fingerprint);
  g_autofree char *public = h2k_ssh_key_public (key, "");
  const char *to_public[] = {"ssh-keygen", "-y", "-f", path, NULL};
  const char *list[] = {"ssh-keygen", "-l", "-f", path, NULL};
  g_autofree char *derived = run_tool (to_public), *listed = run_tool (list);

  g_assert_nonnull (derived);
  g_assert_true (g_str_has_prefix (derived, g_strchomp (public)));
  g_assert_nonnull (listed);
  if (!g_str_has_prefix (listed, expected))
    g_test_fail_printf ("ssh-keygen says %s instead of %s", listed, expected);
  /* DSA is nothing that is signed with today. */
  if (test->kind != H2K_SSH_DSA)
    claim_signs (path, public);
}

static void
claim_dropbear_reads (const H2kSshKey *key, const char *path)
{
  g_autofree char *public = h2k_ssh_key_public (key, "");
  const char *argv[] = {"dropbearkey", "-y", "-f", path, NULL};
  g_autofree char *printed = run_tool (argv);

  g_assert_nonnull (printed);
  g_assert_nonnull (strstr (printed, g_strchomp (public)));
}

/* Dropbear looks at the private part when it makes another form of it. */
static void
claim_dropbear_converts (const Made *test, const H2kSshKey *key, const char *path)
{
  g_autofree char *converted = g_build_filename (scratch, "converted", NULL);
  const char *argv[] = {"dropbearconvert", "dropbear", "openssh", path, converted, NULL};
  g_autofree char *printed = NULL;

  g_autofree char *stale = g_strconcat (converted, ".pub", NULL);

  g_unlink (converted);
  g_unlink (stale);
  g_assert_nonnull (printed = run_tool (argv));
  claim_openssh_reads (test, key, converted);
}

static void
test_made (gconstpointer data)
{
  const Made *test = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kSshKey) key = h2k_ssh_key_new (test->kind, test->asked, &error);
  g_autoptr (GBytes) private = NULL;
  g_autofree char *path = NULL, *fingerprint = NULL;
  H2kSshKeyInfo info;

  g_assert_no_error (error);
  private = h2k_ssh_key_private (key, test->form, "root@guest");
  path = save (private);
  fingerprint = h2k_ssh_key_fingerprint (key);
  g_autofree char *line = h2k_ssh_key_public (key, "root@guest");
  g_assert_true (h2k_ssh_key_identify (private, line, &info));
  g_assert_cmpuint (info.kind, ==, test->kind);
  g_assert_cmpuint (info.form, ==, test->form);
  g_assert_cmpuint (info.bits, ==, test->bits);
  if (test->form != H2K_SSH_FORM_DROPBEAR)
    g_assert_cmpstr (info.fingerprint, ==, fingerprint);
  g_free (info.fingerprint);
  if (test->form != H2K_SSH_FORM_DROPBEAR)
    claim_openssh_reads (test, key, path);
  else if (!has_tool ("dropbearkey") || !has_tool ("dropbearconvert"))
    g_test_skip ("dropbearkey is not installed");
  else
    {
      claim_dropbear_reads (key, path);
      claim_dropbear_converts (test, key, path);
    }
}

static void
test_no_two_alike (void)
{
  g_autoptr (H2kSshKey) a = h2k_ssh_key_new (H2K_SSH_ED25519, 0, NULL);
  g_autoptr (H2kSshKey) b = h2k_ssh_key_new (H2K_SSH_ED25519, 0, NULL);
  g_autofree char *fa = h2k_ssh_key_fingerprint (a), *fb = h2k_ssh_key_fingerprint (b);

  g_assert_cmpstr (fa, !=, fb);
}

/* --- keys of others --------------------------------------------------------------------------- */

static const struct
{
  const char *type, *bits, *format, *passphrase;
  gboolean ok;
  H2kSshKind kind;
  guint size;
  H2kSshForm form;
} given[] = {
    {"rsa", "2048", NULL, "", TRUE, H2K_SSH_RSA, 2048, H2K_SSH_FORM_OPENSSH},
    {"rsa", "1024", NULL, "", TRUE, H2K_SSH_RSA, 1024, H2K_SSH_FORM_OPENSSH},
    {"rsa", "2048", "PEM", "", TRUE, H2K_SSH_RSA, 2048, H2K_SSH_FORM_PEM},
    {"rsa", "2048", "PKCS8", "", TRUE, H2K_SSH_RSA, 2048, H2K_SSH_FORM_PEM},
    {"rsa", "2048", NULL, "secret", FALSE, 0, 0, 0},
    {"rsa", "2048", "PEM", "secret", FALSE, 0, 0, 0},
    {"rsa", "2048", "PKCS8", "secret", FALSE, 0, 0, 0},
    {"dsa", "1024", NULL, "", TRUE, H2K_SSH_DSA, 1024, H2K_SSH_FORM_OPENSSH},
    {"dsa", "1024", "PEM", "", TRUE, H2K_SSH_DSA, 1024, H2K_SSH_FORM_PEM},
    {"ecdsa", "256", NULL, "", TRUE, H2K_SSH_ECDSA, 256, H2K_SSH_FORM_OPENSSH},
    {"ecdsa", "521", NULL, "", TRUE, H2K_SSH_ECDSA, 521, H2K_SSH_FORM_OPENSSH},
    {"ecdsa", "384", "PEM", "", TRUE, H2K_SSH_ECDSA, 384, H2K_SSH_FORM_PEM},
    {"ed25519", "256", NULL, "", TRUE, H2K_SSH_ED25519, 256, H2K_SSH_FORM_OPENSSH},
    {"ed25519", "256", NULL, "secret", FALSE, 0, 0, 0},
};

/* However much of a key is missing or other than it was, it is looked at without harm. */
static void
claim_robust (GBytes *data, const char *line)
{
  gsize length;
  const guint8 *bytes = g_bytes_get_data (data, &length);

  for (gsize i = 0; i < length; i += 3)
    {
      g_autoptr (GBytes) cut = g_bytes_new (bytes, i);
      g_autofree guint8 *copy = g_memdup2 (bytes, length);
      H2kSshKeyInfo info;

      h2k_ssh_key_identify (cut, line, &info);
      g_free (info.fingerprint);
      copy[i] ^= 0x55;
      g_autoptr (GBytes) broken = g_bytes_new (copy, length);
      h2k_ssh_key_identify (broken, line, &info);
      g_free (info.fingerprint);
    }
}

static void
test_given (gconstpointer data)
{
  guint i = GPOINTER_TO_UINT (data);
  g_autofree char *path = g_build_filename (scratch, "given", NULL);
  g_autofree char *public_path = g_strconcat (path, ".pub", NULL);
  const char *argv[] = {"ssh-keygen",
                        "-q",
                        "-t",
                        given[i].type,
                        "-b",
                        given[i].bits,
                        "-N",
                        given[i].passphrase,
                        "-f",
                        path,
                        given[i].format ? "-m" : NULL,
                        given[i].format,
                        NULL};
  const char *list[] = {"ssh-keygen", "-l", "-f", public_path, NULL};
  g_autofree char *output = NULL, *text = NULL, *line = NULL, *listed = NULL;
  H2kSshKeyInfo info;
  gsize length;

  g_unlink (path);
  g_unlink (public_path);
  if (!(output = run_tool (argv)))
    {
      g_test_skip ("this ssh-keygen does not make such a key");
      return;
    }
  g_assert_true (g_file_get_contents (path, &text, &length, NULL));
  g_assert_true (g_file_get_contents (public_path, &line, NULL, NULL));
  g_assert_nonnull (listed = run_tool (list));
  g_autoptr (GBytes) bytes = g_bytes_new (text, length);
  g_assert_cmpint (h2k_ssh_key_identify (bytes, line, &info), ==, given[i].ok);
  if (given[i].ok)
    {
      g_assert_cmpuint (info.kind, ==, given[i].kind);
      g_assert_cmpuint (info.bits, ==, given[i].size);
      g_assert_cmpuint (info.form, ==, given[i].form);
      g_assert_nonnull (strstr (listed, info.fingerprint));
    }
  g_free (info.fingerprint);
  claim_robust (bytes, line);
}

static void
test_rubbish (void)
{
  static const char *const texts[] = {"",
                                      "-",
                                      "hello",
                                      "\xff\xff\xff\xff",
                                      "\0\0\0\7ssh-rsa\xff\xff\xff\xff",
                                      "-----BEGIN OPENSSH PRIVATE KEY-----\n",
                                      "-----BEGIN OPENSSH PRIVATE KEY-----\n\n-----END",
                                      "-----BEGIN PRIVATE KEY-----\n",
                                      "SSH PRIVATE KEY FILE FORMAT 1.1\n"};

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (GBytes) bytes = g_bytes_new (texts[i], strlen (texts[i]));
      H2kSshKeyInfo info;

      g_assert_false (h2k_ssh_key_identify (bytes, NULL, &info));
      g_assert_null (info.fingerprint);
      g_assert_false (h2k_ssh_key_identify (bytes, "ssh-rsa !!!!", &info));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  scratch = g_getenv ("TMPDIR");
  for (guint i = 0; i < G_N_ELEMENTS (made); i++)
    {
      g_autofree char *name = g_strconcat ("/ssh-key/made-here/", made[i].name, NULL);
      g_test_add_data_func (name, &made[i], test_made);
    }
  for (guint i = 0; i < G_N_ELEMENTS (given); i++)
    {
      g_autofree char *name
          = g_strdup_printf ("/ssh-key/of-ssh-keygen/%s-%s%s%s%s", given[i].type, given[i].bits,
                             given[i].format ? "-" : "", given[i].format ? given[i].format : "",
                             *given[i].passphrase ? "-encrypted" : "");
      g_test_add_data_func (name, GUINT_TO_POINTER (i), test_given);
    }
  g_test_add_func ("/ssh-key/no-two-are-alike", test_no_two_alike);
  g_test_add_func ("/ssh-key/rubbish-is-no-key", test_rubbish);
  return g_test_run ();
}
