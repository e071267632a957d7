@echo off
rem Opens the lab, having set up what it needs; an engagement may be named behind it. See start.py.
setlocal
set "PYTHONUTF8=1"
set "FOUND="
for %%P in ("py -3" "python" "python3") do (
  if not defined FOUND (
    %%~P -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && set "FOUND=%%~P"
  )
)
if not defined FOUND (
  echo Python 3.11 or newer is needed: install it from python.org.
  pause
  exit /b 2
)
%FOUND% "%~dp0start.py" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" pause
exit /b %CODE%
