@echo off
rem 020-network.cmd - addresses and names of the old adapters go to the new ones.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
if not exist "%H2K_DATA%\network.ini" exit 0
"%H2K_EXE%" --network "%H2K_DATA%\network.ini"
exit %errorlevel%
